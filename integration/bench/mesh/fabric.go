package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/weft-net/weft/integration/lab"
)

// fabric is a cluster under way, with a pod on each node.
type fabric struct {
	*lab.Fabric
	pods []*lab.Pod
	args [][]string // of each agent
}

// start makes a fabric whose agents are in step. args are of each agent, in the order of
// nodes; each finds its addresses by its device, so that they may change.
func (b *bench) start(ctx context.Context, layout lab.Layout, server []string, args ...[]string) (_ *fabric, err error) {
	l, err := lab.NewFabric(ctx, b.bin, layout)
	if err != nil {
		return nil, err
	}
	f := &fabric{Fabric: l, args: make([][]string, len(l.Nodes))}
	defer func() {
		if err != nil {
			_ = l.Close()
		}
	}()
	for i := range f.args {
		f.args[i] = []string{"--iface", "eth0"}
		if i < len(args) {
			f.args[i] = append(f.args[i], args[i]...)
		}
	}
	for _, h := range l.Servers {
		if err := l.StartServerOn(ctx, h, server...); err != nil {
			return nil, err
		}
	}
	if err := f.agents(ctx, l.Nodes...); err != nil {
		return nil, err
	}
	for _, n := range l.Nodes {
		p, err := l.NewPod(ctx, n, "pod", nil)
		if err != nil {
			return nil, err
		}
		f.pods = append(f.pods, p)
	}
	return f, f.reach(ctx, 0, 1)
}

// agents starts those of some nodes at once, and waits until all nodes are in step.
func (f *fabric) agents(ctx context.Context, nodes ...*lab.Host) error {
	var all sync.WaitGroup
	errs := make([]error, len(nodes))
	for i, n := range nodes {
		all.Go(func() { errs[i] = f.StartAgent(ctx, n, f.args[slices.Index(f.Nodes, n)]...) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return f.InStep(ctx, len(f.Nodes))
}

// reach waits until the pods of two nodes reach each other.
func (f *fabric) reach(ctx context.Context, a, b int) error {
	for _, to := range f.pods[b].Addrs {
		err := lab.Until(ctx, "a pod reaches "+to.String(), func() (string, error) {
			return f.pods[a].Run(ctx, "ping", "-c", "1", "-W", "1", to.String())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// standing is how a node sends to another, as its agent says.
type standing struct {
	Node                string
	Rung, Via, Endpoint string
	Preshared           string // which pre-shared key, and whether a handshake has confirmed it
}

// shared names the pre-shared key of a pair, if it has one.
func (s standing) shared() string {
	name, _, _ := strings.Cut(s.Preshared, ",")
	return name
}

// confirmed waits until a handshake has confirmed one pre-shared key at both ends of a
// pair, another than the one that it had.
func (f *fabric) confirmed(ctx context.Context, a, b int, old string) error {
	first := ""
	return f.stands(ctx, a, b, "with another pre-shared key than "+old, func(s standing) bool {
		if s.Node == f.Nodes[a].Name {
			first = s.shared()
		}
		return s.shared() == first && first != "" && first != old && strings.Contains(s.Preshared, "confirmed by")
	})
}

// straight waits until both nodes of a pair send to an address of the other's.
func (f *fabric) straight(ctx context.Context, a, b int) error {
	return f.stands(ctx, a, b, "straight", func(s standing) bool { return s.Via == "" && s.Endpoint != "" })
}

// relayed waits until both nodes of a pair send over a relay, or a certain one.
func (f *fabric) relayed(ctx context.Context, a, b int, via string) error {
	return f.stands(ctx, a, b, "over a relay "+via, func(s standing) bool { return s.Via != "" && (via == "" || s.Via == via) })
}

func (f *fabric) stands(ctx context.Context, a, b int, how string, right func(standing) bool) error {
	names := [2]string{f.Nodes[a].Name, f.Nodes[b].Name}
	return lab.Until(ctx, names[0]+" and "+names[1]+" send "+how, func() (string, error) {
		ends, err := f.ends(ctx, names[0], names[1])
		if err != nil {
			return err.Error(), lab.ErrNotYet
		}
		for _, s := range ends {
			if !right(s) {
				return fmt.Sprint(ends), lab.ErrNotYet
			}
		}
		return "", nil
	})
}

// ends asks the agents of both.
func (f *fabric) ends(ctx context.Context, a, b string) (out []standing, err error) {
	text, err := f.Weft(ctx, "mesh", "explain", a, b, "-o", "json")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Ends []struct {
			Node string
			Path *standing
		}
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	for _, e := range answer.Ends {
		if e.Path == nil {
			return nil, fmt.Errorf("%w: an end says nothing: %s", lab.ErrNotYet, text)
		}
		e.Path.Node = e.Node
		out = append(out, *e.Path)
	}
	if len(out) != 2 {
		return nil, fmt.Errorf("%w: %s", lab.ErrNotYet, text)
	}
	return out, nil
}

// config changes the cluster's configuration.
func (f *fabric) config(ctx context.Context, spec string) error {
	cmd := f.Server.Command(ctx, "weft", "--config", f.ServerDir()+"/admin.yaml", "apply", "-f", "-")
	cmd.Stdin = strings.NewReader("apiVersion: weft/v1\nkind: ClusterConfig\nmetadata: {name: default}\nspec: {" + spec + "}\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", spec, err, out)
	}
	return nil
}

// sends waits until nodes send to each other's pods by devices whose name begins so,
// and have no device whose name begins with another.
func (f *fabric) sends(ctx context.Context, a, b int, dev, without string) error {
	for _, ends := range [][2]int{{a, b}, {b, a}} {
		for _, to := range f.pods[ends[1]].Addrs {
			err := lab.Until(ctx, fmt.Sprintf("%s sends by %s, and has no %s", f.Nodes[ends[0]].Name, dev, without), func() (string, error) {
				out, err := f.Nodes[ends[0]].Run(ctx, "sh", "-c", "ip -o route get "+to.String()+"; ip -br link")
				route, links, _ := strings.Cut(out, "\n")
				if err == nil && (!strings.Contains(route, " dev "+dev) || without != "" && strings.Contains(links, without)) {
					err = lab.ErrNotYet
				}
				return out, err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
