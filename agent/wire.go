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
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/keyring"
	"github.com/weft-net/weft/agent/local"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/overlay"
	"github.com/weft-net/weft/agent/pod"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/agent/uplink"
	"github.com/weft-net/weft/agent/userspace"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
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

// links are the kinds whose events may concern pods' devices, outward those by which the
// node may come to send from elsewhere: default routes among them.
var (
	links   = datapath.Of(datapath.KindLink, datapath.KindAddr)
	outward = links | datapath.Of(datapath.KindRoute)
)

func (a *agent) kernelChanged(kinds datapath.Kinds) {
	a.loop.Kick(kinds)
	if kinds&outward != 0 {
		a.host.kick()
	}
	if kinds&links != 0 {
		a.pods.Kick()
		a.tailnet.kick()
	}
}

// intentChanged runs when the uplink holds another intent.
func (a *agent) intentChanged() {
	n, _ := a.uplink.Intent()
	a.breaks.asked(n.Pause)
	a.pairs.kick()
	a.tailnet.kick()
	a.loop.Kick(0) // plan again; the kernel is as it was
	a.touch()
}

// chosen runs when pairs choose another way.
func (a *agent) chosen(look bool) {
	var kinds datapath.Kinds
	if look {
		kinds = datapath.Of(datapath.KindWGPeer)
	}
	a.loop.Kick(kinds)
}

// underlayChanged runs when the node's addresses or their MTU are others.
func (a *agent) underlayChanged() {
	a.report()
	a.pairs.moved()
	a.loop.Kick(0)
	a.touch()
}

// openKernel binds to the kernel, which asks the node's keys for their secrets.
func (a *agent) openKernel() (err error) {
	if a.ring, err = keyring.Open(a.dir, keyring.Config{Log: a.log}); err != nil {
		return err
	}
	if a.starter, err = userspace.NewStarter(userspace.StarterConfig{Log: a.log, Words: a.dir.Path(""), Ended: func(e userspace.End) { a.pairs.ended(e) }}); err != nil {
		return err
	}
	a.kernel, err = kernel.Open(a.log, kernel.Config{Keyring: a.ring, Userspace: a.starter, WireGuard: a.cfg.wireguard()})
	return err
}

// closeKernel lets go of it. Processes of devices stay.
func (a *agent) closeKernel() {
	if a.kernel != nil {
		a.kernel.Close()
	}
	if a.starter != nil {
		a.starter.Close()
	}
	if a.pairs != nil && a.pairs.carrier != nil {
		a.pairs.carrier.Close()
	}
}

// openUplink makes the line to the servers, and what goes by it or beside it.
func (a *agent) openUplink(boot string) (err error) {
	if a.uplink, err = uplink.New(a.dir, uplink.Config{
		Node: a.cfg.NodeName, Servers: a.cfg.Servers, Token: a.cfg.token(), Labels: a.cfg.NodeLabels, Ephemeral: a.cfg.Ephemeral, Leave: a.leaves,
		Machine: machine(), Boot: boot, Version: a.cfg.Version, Log: a.log, OnChange: a.intentChanged, OnEcho: a.echoOffered, Answer: a.answer,
		Carried: carriedVTEP, Proxy: a.cfg.proxies.For, Tunnel: a.dials.serve,
		Beside: beside{a},
	}); err != nil {
		return err
	}
	a.uplink.SetLooking(true)
	return a.openPairs()
}

// openPairs joins the rooms by which pairs choose their way.
func (a *agent) openPairs() (err error) {
	p := &pairs{
		node: a.cfg.NodeName, external: a.cfg.external(), only: a.cfg.wireguard(), log: a.log, ring: a.ring, devices: a.kernel, kicks: make(chan struct{}, 1),
		intent: a.withUnderlay, reach: func() []netip.Addr { return a.host.reachable() }, offer: a.uplink.Echo, adopted: a.adopted,
		told: a.report, changed: a.chosen, refused: func(dev string) bool { return a.loop.Refused(dev) }, problems: func(ps []intent.Problem) {
			if a.setProblems("pairs", ps) {
				a.touch()
			}
		},
	}
	a.pairs = p
	if err := a.openRelay(); err != nil {
		return err
	}
	for _, dev := range []string{datapath.WGLink0, datapath.WGLink1} {
		if err := a.starter.Follow(dev); err != nil { // its next start says so, too
			a.log.Warn("WireGuard process not followed", note.Dev, dev, note.Err, err)
		}
	}
	return nil
}

// adopted is by which devices the kernel sends to peers.
func (a *agent) adopted(ctx context.Context) (map[string]mesh.Over, error) {
	n, _ := a.uplink.Intent()
	kinds := datapath.Of(datapath.KindRoute)
	if n.Cluster.PostQuantum {
		kinds = datapath.Of(datapath.KindRoute, datapath.KindLink, datapath.KindWGPeer)
	}
	have, err := a.kernel.Observe(ctx, kinds)
	keys := overlay.Keys{Slots: a.ring.Slots(), Preshared: func(id [32]byte) bool { _, ok := a.ring.Preshared(id); return ok }}
	return overlay.Adopted(n, keys, have), err
}

// echoOffered runs when a server has offered its echo.
func (a *agent) echoOffered() { a.pairs.kick() }

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
		Settings: a.settings.written, Checks: a.checks, Log: a.cfg.tail(), Breaks: a.breaks, Mesh: a.pairs, Tailnet: a.tailnet, Echo: echo, Config: a.cfg.lines,
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
