package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/agent/detached"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/keyring"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/paths"
	"github.com/weft-net/weft/agent/preshared"
	"github.com/weft-net/weft/agent/relay/apart"
	"github.com/weft-net/weft/agent/uplink"
	"github.com/weft-net/weft/proto/disco"
	echowire "github.com/weft-net/weft/proto/echo"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"golang.org/x/sync/errgroup"
)

// wireguardPort is slot 0's where the cluster names none; slot 1 has the next.
const wireguardPort = 51820

// pairsRetry is how long the rooms of the pairs rest after one of them failed.
const pairsRetry = 5 * time.Second

// madeWithin bounds the question who makes WireGuard devices.
const madeWithin = 5 * time.Second

// wireguards is what package kernel knows of WireGuard.
type wireguards interface {
	WireGuard(ctx context.Context) (kind string, err error)
	Nobody() string // why nobody makes devices
	WGPeers(ctx context.Context) ([]kernel.WGPeerStatus, error)
}

// pairs joins the rooms by which pairs of nodes choose their way: the keys, who proves
// paths, and who relays. They live while the fabric has such pairs, so that a node
// whose fabric has none pays for none of it.
type pairs struct {
	node     string
	external []string // --node-external-ip
	only     string   // who may make WireGuard devices, as room kernel takes it; empty: anybody
	log      *slog.Logger
	ring     *keyring.Ring
	devices  wireguards
	relay    *apart.Client
	carrier  *detached.Starter                                   // of the relay process
	agree    *preshared.Agreement                                // of pre-shared keys; nil while no pair chooses
	intent   func() (intent.Node, bool)                          // with the underlay as it is
	reach    func() []netip.Addr                                 // addresses of this node
	offer    func() (uplink.Echo, bool)                          // of the servers' echo
	adopted  func(context.Context) (map[string]mesh.Over, error) // by which the kernel sends
	told     func()                                              // the node's report is another
	changed  func(look bool)                                     // choices are others; look: at the devices too
	problems func([]intent.Problem)
	refused  func(dev string) bool // a device that the kernel does not make as it is wanted

	kicks chan struct{} // room for one
	asked atomic.Bool   // a person wants other keys

	turning sync.Mutex // held while keys are turned

	mu    sync.Mutex
	tried bool         // kind is known
	kind  string       // who makes WireGuard devices; empty: nobody
	paths *paths.Paths // nil: no pair chooses
	last  map[string]mesh.Choice
	mute  []string // mesh.Summary.Silent
	carry carry

	unrelayed atomic.Pointer[error] // why there is no relay process; nil: there is one

	deaths  deaths  // of processes
	stuck   stuck   // of watch
	leaving leaving // the same
	clash   clashing
}

// kick says that what the rooms are told has changed.
func (p *pairs) kick() {
	select {
	case p.kicks <- struct{}{}:
	default:
	}
	if at := p.at(); at != nil {
		at.Kick()
		p.relay.Changed()
	}
	if a := p.agreed(); a != nil {
		a.Kick()
	}
}

// moved says that the node's addresses or links are others.
func (p *pairs) moved() {
	if at := p.at(); at != nil {
		at.Moved()
		p.relay.Changed()
	}
}

// at is who proves paths; nil while no pair chooses.
func (p *pairs) at() *paths.Paths {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paths
}

// meshed tells whether there are pairs that choose.
func (p *pairs) meshed() bool {
	n, held := p.intent()
	self, _ := n.Self()
	return held && len(self.Lease) > 0 && n.Cluster.Meshed()
}

// run has the rooms live while there is something for them to do.
func (p *pairs) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if !p.meshed() {
			p.retire(ctx)
			select {
			case <-ctx.Done():
			case <-p.kicks:
			}
			continue
		}
		err := p.live(ctx)
		if err != nil && ctx.Err() == nil {
			p.log.Error("paths not proved", note.Err, err, note.Retry, pairsRetry)
			p.problems([]intent.Problem{{Subject: "mesh", Cause: err.Error(), Remedy: "journalctl -u weft-agent; the agent needs CAP_NET_ADMIN and CAP_NET_RAW"}})
			pause(ctx, pairsRetry)
		} else {
			p.problems(nil) // there are no pairs to have any
		}
	}
	return nil
}

// retire ends the relay process, which a fabric without pairs that choose does not need.
func (p *pairs) retire(ctx context.Context) {
	if n, held := p.intent(); !held || n.Cluster.Meshed() {
		return // who knows
	}
	if err := p.relay.Retire(ctx); err != nil {
		p.log.Warn("relay process not ended", note.Err, err)
	}
}

// live runs the rooms until no pair chooses any more, or one of them fails.
func (p *pairs) live(ctx context.Context) error {
	if kernel.IPv6Off() {
		p.log.Warn("WireGuard listens on IPv4 only", note.Why, "IPv6 is switched off in the kernel", note.Do, "nothing, unless peers are to reach this node by IPv6: then start the kernel without ipv6.disable=1")
	}
	adopted, err := p.adopted(ctx)
	if err != nil {
		return fmt.Errorf("agent: look for what an earlier run left: %w", err)
	}
	agree := preshared.New(p.node, p.agreement())
	at := paths.New(p.config(adopted))
	p.set(at, agree)
	defer p.set(nil, nil)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return at.Run(ctx) })
	g.Go(func() error { return p.relay.Run(ctx) })
	g.Go(func() error { return agree.Run(ctx) })
	g.Go(func() error { return p.watch(ctx) })
	if err := g.Wait(); !errors.Is(err, errNoPairs) {
		return err
	}
	return nil
}

// errNoPairs ends the rooms: the fabric has no pair that chooses.
var errNoPairs = errors.New("agent: no pair chooses its way")

// watch sees to the keys until no pair chooses any more.
func (p *pairs) watch(ctx context.Context) error {
	tick := time.NewTicker(movingEvery)
	defer tick.Stop()
	var next time.Time // turn, if nothing happens before
	for {
		now := time.Now()
		avoids, err := p.avoid(now)
		if err != nil {
			return err
		}
		if p.unstick(now) || avoids || !now.Before(next) {
			if err := p.turns(now); err != nil {
				return err
			}
			next = now.Add(keysEvery)
			if len(p.ring.Slots()) > 1 {
				next = now
			}
		}
		p.tell()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-p.kicks:
			next = time.Time{}
		}
		if !p.meshed() {
			return errNoPairs
		}
	}
}

// tell says what keeps pairs from WireGuard, and an old key in use.
func (p *pairs) tell() {
	now := time.Now()
	p.waits(now)
	p.problems(slices.Concat(p.lack(), p.uncarried(), p.outside(), unkeyed(p.deaf()), p.deaths.problems(now), p.stuck.problems(p.node), p.leaving.problems(p.node)))
}

// lack is that the node cannot have WireGuard devices, if pairs need them.
func (p *pairs) lack() []intent.Problem {
	n, _ := p.intent()
	if p.made() != "" || n.Cluster.Encryption == intent.EncryptNever {
		return nil
	}
	return []intent.Problem{{
		Subject: "WireGuard", Cause: p.devices.Nobody(),
		Remedy: load(p.only),
	}}
}

// load is what to do where nobody makes WireGuard devices, and --wireguard lets only one
// of the two.
func load(only string) string {
	switch only {
	case kernel.InKernel:
		return "modprobe wireguard; or start weft-agent without --wireguard kernel, so that a process makes devices"
	case kernel.InUserspace:
		return "modprobe tun; or start weft-agent without --wireguard userspace, so that the kernel makes devices"
	}
	return "modprobe wireguard, or modprobe tun"
}

// outside are names of --node-external-ip by which nobody reaches the node.
func (p *pairs) outside() (out []intent.Problem) {
	at := p.at()
	if at == nil {
		return nil
	}
	for _, cause := range at.External() {
		out = append(out, intent.Problem{Subject: "--node-external-ip", Cause: cause, Remedy: "mend the name, or what its nameserver says; it is asked again each minute"})
	}
	return out
}

// made is who makes WireGuard devices; empty: nobody. A cluster asks before it has
// pairs that need them.
func (p *pairs) made() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.tried {
		ctx, cancel := context.WithTimeout(context.Background(), madeWithin)
		defer cancel()
		kind, err := p.devices.WireGuard(ctx)
		if err != nil {
			p.log.Warn("WireGuard not found", note.Err, err)
		}
		p.kind, p.tried = kind, err == nil
	}
	return p.kind
}

// config joins who proves paths to the others.
func (p *pairs) config(adopted map[string]mesh.Over) paths.Config {
	return paths.Config{
		Self: p.node, Log: p.log, External: p.external, Machine: mesh.New(p.node, time.Now()),
		Input: func() (mesh.Input, bool) {
			n, held := p.intent()
			return mesh.Input{Intent: n, Adopted: adopted, Preshared: p.locks()}, held
		},
		Slots: p.ring.Slots, Shared: p.shared, Addrs: p.reach, Offer: p.offered,
		Devices: p, Relay: p.relay, Changed: p.chose, Told: p.told,
	}
}

// WGPeers is what WireGuard devices say of peers.
func (p *pairs) WGPeers(ctx context.Context) ([]paths.Device, error) {
	list, err := p.devices.WGPeers(ctx)
	var out []paths.Device
	for _, s := range list {
		out = append(out, paths.Device{Dev: s.Dev, Key: s.Peer, Endpoint: s.Endpoint, Handshake: s.Handshake, Received: s.Received, Sent: s.Sent, PSK: s.PSK})
	}
	return out, err
}

// shared is what only this node and the owner of a key know.
func (p *pairs) shared(own, peer intent.Key) ([32]byte, error) {
	private, ok := p.ring.Private(own)
	if !ok {
		return [32]byte{}, fmt.Errorf("agent: key %v is not this node's any more", own)
	}
	return disco.Shared(private, [32]byte(peer))
}

// offered is what a server said of its echo.
func (p *pairs) offered() (paths.Offer, bool) {
	e, ok := p.offer()
	if !ok || len(e.Cookie) != echowire.CookieSize {
		return paths.Offer{}, false
	}
	addrs := echoes(e)
	if len(addrs) == 0 {
		return paths.Offer{}, false
	}
	return paths.Offer{Addrs: addrs, Ports: e.Ports, Cookie: echowire.Cookie(e.Cookie), Until: e.Until}, true
}

// echoes are where a server's echo is asked, one address a family at most: first that by
// which its stream is reached. Where a proxy stands between, that is not known, and UDP
// may get out all the same: then to what the server is called, and says of itself.
func echoes(e uplink.Echo) (out []netip.Addr) {
	list := []netip.Addr{e.Server}
	if at, err := netip.ParseAddrPort(e.Name); err == nil && !e.Server.IsValid() {
		list = append(list, at.Addr().Unmap())
	}
	for _, a := range append(list, e.Others...) {
		if a.IsValid() && !slices.ContainsFunc(out, func(o netip.Addr) bool { return o.Is4() == a.Is4() }) {
			out = append(out, a)
		}
	}
	return out
}

// probes are packets of probes that came to nothing, by what became of them.
func (p *pairs) probes() map[string]float64 {
	at := p.at()
	if at == nil {
		return nil
	}
	return floats(at.Counts())
}

// report is how this node's devices are reached; empty while no pair chooses. Until who
// proves paths has said it anew, it is what peers know already: without it they would
// let go of the node whenever its agent starts.
func (p *pairs) report() (m uplink.Mesh, kind string) {
	if at := p.at(); at != nil {
		r := at.Report()
		m = uplink.Mesh{Slots: r.Slots, Candidates: r.Candidates, NAT4: r.NAT4, NAT6: r.NAT6, Relays: r.Relays}
	}
	if n, held := p.intent(); len(m.Slots) == 0 && held && n.Cluster.Meshed() {
		self, _ := n.Self()
		slots := p.ring.Slots()
		m = uplink.Mesh{Slots: slots, Candidates: candidatesOf(slots, self.Candidates), NAT4: self.NAT4, NAT6: self.NAT6, Relays: self.Relays}
	}
	return m, p.made()
}

// candidatesOf are those of devices that there are: a node that has lost its keys has
// others than its peers were told of.
func candidatesOf(slots []intent.Slot, all []intent.Candidate) (out []intent.Candidate) {
	for _, c := range all {
		if slices.ContainsFunc(slots, func(s intent.Slot) bool { return s.Slot == c.Slot }) {
			out = append(out, c)
		}
	}
	return out
}

func (p *pairs) set(at *paths.Paths, agree *preshared.Agreement) {
	p.mu.Lock()
	p.paths, p.agree, p.last, p.mute, p.carry = at, agree, nil, nil, carry{}
	p.mu.Unlock()
	p.told()
}
