package agent

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	hostroom "github.com/weft-net/weft/agent/host"
	"github.com/weft-net/weft/agent/local"
	"github.com/weft-net/weft/agent/pod"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/proto/intent"
)

func (a *agent) cniSocket() string { return filepath.Join(a.cfg.RunDir, "cni.sock") }

// listen opens the two sockets.
func (a *agent) listen() (agent, cni net.Listener, err error) {
	if agent, err = local.Listen(filepath.Join(a.cfg.RunDir, "agent.sock"), local.AgentMode); err != nil {
		return nil, nil, err
	}
	if cni, err = local.Listen(a.cniSocket(), local.CNIMode); err != nil {
		agent.Close()
		return nil, nil, err
	}
	return agent, cni, nil
}

// touch says that there may be something to show.
func (a *agent) touch() {
	select {
	case a.dirty <- struct{}{}:
	default:
	}
}

// links are the kinds whose events may concern the uplink or pods' devices.
var links = datapath.Of(datapath.KindLink, datapath.KindAddr)

func (a *agent) kernelChanged(kinds datapath.Kinds) {
	a.loop.Kick(kinds)
	if kinds&links != 0 {
		a.host.kick()
		a.pods.Kick()
	}
}

// intentChanged runs when the uplink holds another intent.
func (a *agent) intentChanged() {
	n, _ := a.uplink.Intent()
	a.breaks.asked(n.Pause)
	a.loop.Kick(0) // plan again; the kernel is as it was
	a.touch()
}

// underlayChanged runs when the node's addresses or their MTU are others.
func (a *agent) underlayChanged() {
	a.report()
	a.loop.Kick(0)
	a.touch()
}

// podsName is the folder of pods' records in the data folder.
const podsName = "pods"

// podNode is what attaching a pod needs of the intent.
func (a *agent) podNode() (pod.Node, bool) {
	n, _ := a.withUnderlay()
	return pod.NodeOf(n)
}

// answer answers what a server asks over the stream.
func (a *agent) answer(ctx context.Context, method string, request []byte) ([]byte, error) {
	return a.answers().Answer(ctx, method, request)
}

func echo(ctx context.Context, from, to netip.Addr, count int) (sent, received int, rtt time.Duration, err error) {
	r, err := probe.Echo(ctx, from, to, count)
	return r.Sent, r.Received, r.RTT, err
}

// answers is what agent.sock tells.
func (a *agent) answers() *local.Agent {
	return &local.Agent{
		Version: a.cfg.Version, Line: a.uplink, Loop: a.loop, Intent: a.withUnderlay,
		Underlay: func() []intent.Underlay { return a.host.view().underlay }, Endpoints: a.endpoints, Heals: a.heals,
		Settings: a.settings.written, Checks: a.checks, Log: a.cfg.tail(), Breaks: a.breaks, Echo: echo, Config: a.cfg.lines,
		Kernel: func(ctx context.Context) (datapath.State, error) { return a.kernel.Observe(ctx, datapath.AllKinds) },
	}
}

func (a *agent) heals() []local.Heal {
	var out []local.Heal
	for _, h := range a.loop.Heals() {
		out = append(out, local.Heal{At: h.At, Step: h.Step, Took: h.Took})
	}
	slices.Reverse(out) // newest first
	return out
}

// pause waits for d and tells whether ctx still stands.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// screen hides from the loop what a CNI verb is making or removing.
func (a *agent) screen(seen datapath.State) { a.pods.Screen(seen) }

// leaves says whether an ephemeral node goes for good when the agent stops: with
// pods it may only be starting again.
func (a *agent) leaves() bool { return len(a.pods.Endpoints()) == 0 }

// clock adds how far a server's clock is from this machine's.
func (a *agent) clock(c *hostroom.Clock) {
	s := a.uplink.Status()
	c.Apart, c.Node, c.Server = s.Apart, a.cfg.NodeName, cmp.Or(s.ServerName, s.Server)
}
