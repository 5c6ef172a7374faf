package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/underlay"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// settle is how long another address must stand before it is the node's: an
// address that is replaced, or lost with its link and given back, is for a moment
// not there. A changed MTU counts at once.
const settle = 150 * time.Millisecond

// looker tells what the host's network is.
type looker interface {
	Host(context.Context) (datapath.Host, error)
}

// host follows the addresses of the node on the network below.
type host struct {
	cfg      Config
	kernel   looker
	settings *settings
	log      *slog.Logger
	kicks    chan struct{}                   // room for one
	changed  func()                          // called when view has changed
	moved    func()                          // called when reachable, or a default route, has changed; nil: nobody asks
	addrs    func(has func(netip.Addr) bool) // called with what the host has
	tailnet  func() ([]netip.Addr, bool)     // the node's addresses in a tailnet that it is to be known by; nil: in none

	mu       sync.Mutex
	links    []datapath.HostLink
	reach    []netip.Addr // at which peers may reach the node, the best first
	defaults []datapath.HostDefault
	seen     view
	pending  pending
}

// view is what was seen last.
type view struct {
	underlay []intent.Underlay
	acceptRA []string // links whose router advertisements forwarding would switch off
	problems []intent.Problem
}

func (v view) equal(o view) bool {
	return slices.Equal(v.underlay, o.underlay) && slices.Equal(v.acceptRA, o.acceptRA) && slices.Equal(v.problems, o.problems)
}

func (a *agent) newHost() *host {
	self, _ := a.uplink.Self()
	return &host{
		cfg: a.cfg, kernel: a.kernel, settings: a.settings, log: a.log, kicks: make(chan struct{}, 1),
		changed: a.underlayChanged, tailnet: a.tailnet.addrs, moved: a.pairs.moved, addrs: a.uplink.SetAddresses, seen: view{underlay: self.Underlay},
	}
}

func (h *host) view() view {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen
}

// reachable are the addresses at which peers may reach the node, the best first.
func (h *host) reachable() []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reach
}

// reached takes them as they are now, and the node's default routes: by another of these
// the same addresses may look otherwise from outside. Whoever asks settles by itself.
func (h *host) reached(now []netip.Addr, out []datapath.HostDefault) {
	h.mu.Lock()
	same := slices.Equal(h.reach, now) && slices.Equal(h.defaults, out)
	h.reach, h.defaults = now, out
	h.mu.Unlock()
	if !same && h.moved != nil {
		h.moved()
	}
}

func (h *host) kick() {
	select {
	case h.kicks <- struct{}{}:
	default:
	}
}

// run looks again after every kick.
func (h *host) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.kicks:
		case <-timer.C:
		}
		settled, err := h.look(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			h.log.Warn("host not read", note.Err, err, note.Retry, time.Second)
			settled = time.Second
		}
		if settled > 0 {
			timer.Reset(settled)
		}
	}
}

// pending are addresses that have yet to stand for a while.
type pending struct {
	addrs []netip.Prefix
	since time.Time
}

// look reads the host and takes what it sees, or says how long that has yet to
// stand.
func (h *host) look(ctx context.Context, now time.Time) (again time.Duration, err error) {
	host, err := h.kernel.Host(ctx)
	if err != nil {
		return 0, err
	}
	h.addrs(func(a netip.Addr) bool {
		return slices.ContainsFunc(host.Addrs, func(b datapath.HostAddr) bool { return b.Prefix.Addr() == a })
	})
	next := h.choose(host)
	h.reached(underlay.Candidates(host, next.underlay), host.Defaults)
	h.mu.Lock()
	h.links = host.Links
	was := h.seen
	if len(was.underlay) > 0 && !slices.Equal(prefixes(was.underlay), prefixes(next.underlay)) {
		if !slices.Equal(h.pending.addrs, prefixes(next.underlay)) {
			h.pending = pending{prefixes(next.underlay), now}
		}
		if waited := now.Sub(h.pending.since); waited < settle {
			h.mu.Unlock()
			return settle - waited, nil
		}
	}
	h.pending = pending{}
	h.seen = next
	h.mu.Unlock()
	if !was.equal(next) {
		h.tell(was, next)
		h.changed()
	}
	return 0, nil
}

// tell logs what is chosen, and what is wrong with it that was not before.
func (h *host) tell(was, next view) {
	for _, p := range next.problems {
		if !slices.Contains(was.problems, p) {
			h.log.Warn("underlay not found", note.Err, p.Subject+": "+p.Cause, note.Do, p.Remedy)
		}
	}
	if len(next.underlay) > 0 && !slices.Equal(was.underlay, next.underlay) {
		h.log.Info("underlay chosen", note.Addr, prefixes(next.underlay))
	}
}

func (h *host) choose(host datapath.Host) view {
	was, ips := h.view(), h.cfg.NodeIPs
	if h.tailnet != nil {
		if addrs, in := h.tailnet(); in {
			there := false
			if ips, there = tailnetIPs(host, addrs); !there { // what the tailnet lacks is said there
				return view{underlay: was.underlay, acceptRA: h.acceptRA(host)}
			}
		}
	}
	us, err := underlay.Choose(host, underlay.Config{
		NodeIPs: ips, Iface: h.cfg.Iface, IfaceRegex: h.cfg.IfaceRegex,
		CanReach: h.cfg.CanReach, ReachDevice: towards(host, h.cfg.CanReach), Last: was.underlay,
	})
	v := view{underlay: us, acceptRA: h.acceptRA(host)}
	var why underlay.Error
	if errors.As(err, &why) {
		v.problems = why
	}
	if h.tailnet != nil && len(v.problems) > 0 {
		if _, in := h.tailnet(); in {
			v.problems = noTailnetDevice(ips)
		}
	}
	return v
}

// acceptRA lists the links that take their default route from router
// advertisements while nobody forwards: accept_ra is 1
// (Documentation/networking/ip-sysctl.rst). One that did stays so: after a boot the
// first advertisement may come later than the agent, and would find forwarding on.
func (h *host) acceptRA(host datapath.Host) []string {
	var out []string
	for _, l := range host.Links {
		setting := "net/ipv6/conf/" + l.Name + "/accept_ra"
		routed := slices.ContainsFunc(host.Defaults, func(d datapath.HostDefault) bool {
			return d.Link == l.Name && !d.Is4 && d.Via.IsLinkLocalUnicast()
		})
		if (routed || h.settings.recorded(setting)) && h.settings.had(setting, "1") {
			out = append(out, l.Name)
		}
	}
	slices.Sort(out)
	return out
}

// towards is the device by which the kernel reaches an address. Connecting a UDP
// socket makes it route without sending anything; the source that it picks tells
// the device.
func towards(host datapath.Host, to netip.Addr) string {
	if !to.IsValid() {
		return ""
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9)))
	if err != nil {
		return ""
	}
	defer c.Close()
	local, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return ""
	}
	ip := local.AddrPort().Addr().Unmap()
	for _, a := range host.Addrs {
		if a.Prefix.Addr() == ip {
			return a.Link
		}
	}
	return ""
}

func prefixes(us []intent.Underlay) []netip.Prefix {
	var out []netip.Prefix
	for _, u := range us {
		out = append(out, u.Addr)
	}
	return out
}
