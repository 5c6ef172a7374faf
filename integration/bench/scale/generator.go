package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"weak"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
)

// order is what the driver asks of a generator.
type order struct {
	Do     string  `json:"do"` // start, stop, slow, grow, aim, await, leases, bytes, tunnels
	Names  string  `json:"names,omitempty"`
	From   int     `json:"from,omitempty"`
	To     int     `json:"to,omitempty"`
	Every  int     `json:"every,omitempty"` // slow: one of so many; 0 none
	Want   wanted  `json:"want,omitzero"`
	Start  int64   `json:"start,omitempty"`  // Unix nanoseconds
	Within float64 `json:"within,omitempty"` // seconds
}

// answer is what a generator says.
type answer struct {
	Error   string            `json:"error,omitempty"`
	Times   times             `json:"times,omitzero"`
	Slow    times             `json:"slow,omitzero"`
	All     []int64           `json:"all,omitempty"` // times of arrival, microseconds
	Missing int               `json:"missing,omitempty"`
	Why     string            `json:"why,omitempty"`    // of one that is missing
	Leases  map[string]string `json:"leases,omitempty"` // node by prefix
	Up      int64             `json:"up,omitempty"`     // bytes
	Down    int64             `json:"down,omitempty"`
	Tunnels int               `json:"tunnels,omitempty"` // that stand
	Came    []int64           `json:"came,omitempty"`    // when each that stood since did, Unix milliseconds
}

// generate holds agents until standard input ends.
func generate(ctx context.Context, args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("want: agents SERVERS TOKEN-FILE FOLDER RELEASE TUNNELS")
	}
	text, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	token, err := join.ParseToken(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	s := &swarm{server: strings.Split(args[0], ","), token: token, folder: args[2], release: args[3], tunnelled: args[4] == "true", agents: map[string]*agent{}, memory: memory{items: map[intent.ID]weak.Pointer[intent.Item]{}}}
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			return err
		}
		if err := out.Encode(s.obey(ctx, o)); err != nil {
			return err
		}
	}
	return io.EOF
}

func (s *swarm) obey(ctx context.Context, o order) (a answer) {
	var err error
	switch o.Do {
	case "start":
		for i := o.From; i < o.To && err == nil; i++ {
			err = s.start(ctx, fmt.Sprintf("%s%d", o.Names, i), i)
		}
	case "stop":
		for i := o.From; i < o.To && err == nil; i++ {
			err = s.remove(fmt.Sprintf("%s%d", o.Names, i))
		}
	case "slow":
		s.slowDown(o.Every)
	case "grow":
		err = s.grow(o.Names, o.From)
	case "aim":
		s.aim(o.Want, time.Unix(0, o.Start))
	case "await":
		return s.await(ctx, o.Within)
	case "leases":
		a.Leases, err = s.leases()
	case "bytes":
		a.Up, a.Down = s.up.Load(), s.down.Load()
	case "tunnels":
		a.Tunnels, a.Came = s.tunnels.look(time.Unix(0, o.Start))
	default:
		err = fmt.Errorf("cannot %q", o.Do)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func (s *swarm) slowDown(every int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := 0
	for _, a := range s.agents {
		a.slow.Store(every > 0 && i%every == 0)
		i++
	}
}

// await answers when the goal is met, or with who is missing.
func (s *swarm) await(ctx context.Context, within float64) answer {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(within*float64(time.Second)))
	defer cancel()
	s.mu.Lock()
	g := s.goal
	s.mu.Unlock()
	select {
	case <-g.done:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	a := answer{Times: spread(g.times), Slow: spread(g.slow), Missing: len(g.wait)}
	for _, t := range g.times {
		a.All = append(a.All, t.Microseconds())
	}
	for m := range g.wait {
		_, objects := m.uplink.Held()
		a.Why = fmt.Sprintf("%s holds %d objects, line %+v", m.name, objects, m.uplink.Status())
		break
	}
	return a
}

// leases of the agents, by prefix. Two of one prefix are an error.
func (s *swarm) leases() (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	for name, a := range s.agents {
		p, err := a.self()
		if err != nil {
			return nil, err
		}
		for _, l := range p.Lease {
			if other := out[l.String()]; other != "" {
				return nil, fmt.Errorf("%v is leased to %s and %s", l, other, name)
			}
			out[l.String()] = name
		}
	}
	return out, nil
}

func (a *agent) self() (intent.Peer, error) {
	if p, ok := a.uplink.Self(); ok && len(p.Lease) > 0 {
		return p, nil
	}
	return intent.Peer{}, fmt.Errorf("%s holds no lease", a.name)
}
