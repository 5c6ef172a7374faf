package main

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// row is one thing that happens to the fabric.
type row struct {
	name    string
	measure func(context.Context, *fabric) error
}

// rows in their order: each leaves the fabric as it found it, with all in step.
var rows = []row{
	{"one", one},
	{"object", object},
	{"slow", slow},
	{"idle", idle},
	{"tunnels clean", func(ctx context.Context, f *fabric) error { return tunnels(ctx, f, "tunnels clean", syscall.SIGTERM) }},
	{"tunnels kill", func(ctx context.Context, f *fabric) error { return tunnels(ctx, f, "tunnels kill", syscall.SIGKILL) }},
	{"clean", func(ctx context.Context, f *fabric) error { return restart(ctx, f, "clean", 0, syscall.SIGTERM) }},
	{"kill", func(ctx context.Context, f *fabric) error { // of several another one: the first has no agents now
		return restart(ctx, f, "kill", min(1, len(f.servers)-1), syscall.SIGKILL)
	}},
}

func names() []string {
	var out []string
	for _, r := range rows {
		out = append(out, r.name)
	}
	return out
}

// patience bounds each wait; a row that needs longer has failed.
const patience = 5 * time.Minute

func measure(ctx context.Context, o options, size int) error {
	fmt.Printf("== scale: %d agents, %d server(s), %s etcd\n", size, o.servers, o.etcd)
	f, err := newFabric(ctx, o, size)
	if err != nil {
		return err
	}
	defer f.close()
	if err := all(ctx, f); err != nil {
		return fmt.Errorf("all: %w", err)
	}
	for _, r := range rows {
		if len(o.rows) > 0 && !slices.Contains(o.rows, r.name) {
			continue
		}
		if err := r.measure(ctx, f); err != nil {
			return fmt.Errorf("%s: %w\n%s", r.name, err, f.servers[0].Tail(10))
		}
	}
	return nil
}

// say notes figures of a row: pairs of what and value.
func (f *fabric) say(row string, pairs ...any) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := f.out.add(figure{f.options.servers, f.options.etcd, f.size, row, pairs[i].(string), pairs[i+1].(float64)}); err != nil {
			return err
		}
	}
	return nil
}

func (f *fabric) sayCost(row string, c cost) error {
	return f.say(row, "server CPU s", c.cpu, "etcd CPU s", c.etcd, "MB to agents", float64(c.down)/1e6, "MB from agents", float64(c.up)/1e6,
		"etcd puts", float64(c.load.puts), "etcd transactions", float64(c.load.txns))
}

// all: every agent joins, all at once. No prefix is leased twice. At the end, what
// an agent costs the servers in memory.
func all(ctx context.Context, f *fabric) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before, err := f.cost()
	if err != nil {
		return err
	}
	began := time.Now()
	for _, c := range f.swarms {
		if _, err := c.ask(order{Do: "start", Names: "n", From: c.from, To: c.to}); err != nil {
			return err
		}
	}
	if _, err := f.ask(order{Do: "aim", Want: wanted{Objects: f.size + 1}, Start: began.UnixNano()}); err != nil {
		return err
	}
	took, _, err := f.await(patience)
	if err != nil {
		return err
	}
	if err := f.inStep(ctx, f.size); err != nil {
		return err
	}
	acked := time.Since(began)
	if err := f.noneTwice(); err != nil {
		return err
	}
	after, err := f.cost()
	if err != nil {
		return err
	}
	if err := f.say("all", "s until all hold all", took.Last/1000, "s until acknowledged", acked.Seconds(), "joins/s", float64(f.size)/(took.Last/1000)); err != nil {
		return err
	}
	if err := f.sayCost("all", after.spent(before)); err != nil {
		return err
	}
	return f.memory(ctx, before)
}

// memory is what agents cost when nothing happens any more.
func (f *fabric) memory(ctx context.Context, before cost) error {
	least := 0.0
	for range 10 { // the runtime gives memory back as it goes
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		c, err := f.cost()
		if err != nil {
			return err
		}
		if least == 0 || c.rss < least {
			least = c.rss
		}
	}
	return f.say("memory", "server RSS MiB", least/1024, "RSS KiB/agent", (least-before.rss)/float64(f.size))
}

func (f *fabric) noneTwice() error {
	answers, err := f.ask(order{Do: "leases"})
	if err != nil {
		return err
	}
	owner := map[string]string{}
	for _, a := range answers {
		for prefix, node := range a.Leases {
			if other := owner[prefix]; other != "" {
				return fmt.Errorf("%s is leased to %s and %s", prefix, other, node)
			}
			owner[prefix] = node
		}
	}
	if len(owner) != f.size {
		return fmt.Errorf("%d prefixes for %d agents", len(owner), f.size)
	}
	return nil
}

// event measures how something comes to all agents: until they hold it, and until
// the server has heard so.
func (f *fabric) event(ctx context.Context, name string, agents int, w wanted, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before, err := f.cost()
	if err != nil {
		return err
	}
	began, err := f.aim(w)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	took, slow, err := f.await(patience)
	if err != nil {
		return err
	}
	if err := f.inStep(ctx, agents); err != nil {
		return err
	}
	acked := time.Since(began)
	after, err := f.settled(ctx)
	if err != nil {
		return err
	}
	if err := f.say(name, "ms median", took.Median, "ms p99", took.P99, "ms last", took.Last, "ms acknowledged", float64(acked.Milliseconds())); err != nil {
		return err
	}
	if slow.Agents > 0 {
		if err := f.say(name, "ms last of the slow", slow.Last); err != nil {
			return err
		}
	}
	return f.sayCost(name, after.spent(before))
}

// settle is how long what follows an event may take: what servers write down of it.
const settle = 3 * time.Second

func (f *fabric) settled(ctx context.Context) (cost, error) {
	select {
	case <-time.After(settle):
		return f.cost()
	case <-ctx.Done():
		return cost{}, ctx.Err()
	}
}

// one: one more node joins, and leaves.
func one(ctx context.Context, f *fabric) error {
	c := f.swarms[len(f.swarms)-1]
	for i := range 3 {
		number := f.size + 1 + i
		name := fmt.Sprint("x", number)
		if err := f.event(ctx, "one", f.size+1, wanted{Peer: name}, func() error {
			_, err := c.ask(order{Do: "start", Names: "x", From: number, To: number + 1})
			return err
		}); err != nil {
			return err
		}
		if _, err := c.ask(order{Do: "stop", Names: "x", From: number, To: number + 1}); err != nil {
			return err
		}
		if err := f.event(ctx, "leave", f.size, wanted{Gone: name}, func() error {
			_, err := f.weft(ctx, "delete", "node", name)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// object: the largest object that all agents hold changes.
func object(ctx context.Context, f *fabric) error {
	for i := range 2 {
		if err := f.change(ctx, "object", 1+i); err != nil {
			return err
		}
	}
	return nil
}

func (f *fabric) change(ctx context.Context, row string, i int) error {
	return f.event(ctx, row, f.size, wanted{Peer: "n0", Grown: i}, func() error {
		_, err := f.swarms[0].ask(order{Do: "grow", Names: "n0", From: i})
		return err
	})
}

// slow: one agent in ten reads slowly while that object changes.
func slow(ctx context.Context, f *fabric) error {
	if _, err := f.ask(order{Do: "slow", Every: 10}); err != nil {
		return err
	}
	if err := f.change(ctx, "slow", 7); err != nil {
		return err
	}
	_, err := f.ask(order{Do: "slow"})
	return err
}

// quiet is how long nothing happens.
const quiet = 60 * time.Second

// idle: nothing happens.
func idle(ctx context.Context, f *fabric) error {
	before, err := f.cost()
	if err != nil {
		return err
	}
	select {
	case <-time.After(quiet):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := f.cost()
	if err != nil {
		return err
	}
	c, s := after.spent(before), after.at.Sub(before.at).Seconds()
	return f.say("idle", "server CPU %", 100*c.cpu/s, "etcd CPU %", 100*c.etcd/s, "etcd puts/s", float64(c.load.puts)/s, "etcd transactions/s", float64(c.load.txns)/s,
		"KB/s to agents", float64(c.down)/1e3/s, "KB/s from agents", float64(c.up)/1e3/s, "server RSS MiB", after.rss/1024)
}

// restart: a server ends, cleanly or not, and starts again: until every agent is in
// step with a server.
func restart(ctx context.Context, f *fabric, name string, which int, sig syscall.Signal) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before, err := f.cost()
	if err != nil {
		return err
	}
	old, _, err := usage(f.servers[which].Pid())
	if err != nil {
		return err
	}
	before.cpu -= old // the new process has used nothing yet
	began := time.Now()
	if err := f.servers[which].Signal(sig); err != nil {
		return err
	}
	<-f.servers[which].Done()
	down := time.Since(began)
	if err := f.startServer(ctx, which); err != nil {
		return err
	}
	up := time.Since(began)
	if _, err := f.ask(order{Do: "aim", Want: wanted{Told: true}, Start: began.UnixNano()}); err != nil {
		return err
	}
	if err := f.inStep(ctx, f.size); err != nil {
		return err
	}
	acked := time.Since(began)
	after, err := f.cost()
	if err != nil {
		return err
	}
	if err := f.say(name, "s until it had ended", down.Seconds(), "s until it was ready", up.Seconds(), "s until all in step", acked.Seconds()); err != nil {
		return err
	}
	return f.sayCost(name, after.spent(before))
}
