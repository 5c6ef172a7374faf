package egress

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/weft-net/weft/server/kind"
)

// aim is one address of a target, or a name that its node resolves, and the way
// there.
type aim struct {
	Request
	addr  netip.Addr // invalid: the node resolves the host
	name  string     // that addr is behind, or that the node resolves; empty: there is none
	place Place
	way   Way
}

// host is what is dialled: the address, if it is known.
func (a aim) host() string {
	if a.addr.IsValid() {
		return a.addr.String()
	}
	return a.name
}

// Dial connects somebody to a target: it finds out who dials it, asks the rules, and
// returns when the target has accepted. It takes at most 30 s, or less if ctx says
// so; ctx does not end the connection. Errors are Refusals.
func (g *Gate) Dial(ctx context.Context, by Asker, to Request) (Conn, error) {
	return g.dial(ctx, by, to, "")
}

// dial is Dial; one that another server has handed on has an id, and is handed on no
// further.
func (g *Gate) dial(ctx context.Context, by Asker, to Request, handed string) (Conn, error) {
	to, err := to.checked()
	if err != nil {
		return nil, err
	}
	d := g.traces.begin(handed, by, to)
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	var c Conn
	release, r := g.places.take(by)
	if r == nil {
		c, r = g.try(ctx, d, handed != "")
	}
	took := d.end(r)
	g.counters.opened(r, took)
	if r != nil {
		if release != nil {
			release()
		}
		if r.Code == Forbidden {
			g.counters.denied(r.Rule)
			g.Denied(by, to, d.node(), r)
		}
		return nil, r
	}
	return g.give(c, d, release), nil
}

// try dials.
func (g *Gate) try(ctx context.Context, d *trace, handed bool) (Conn, *Refusal) {
	if g.life.Err() != nil {
		return nil, refuse(Stopping, "this server stops").do("ask another")
	}
	aims, r := g.aims(ctx, d.to)
	d.step("resolve")
	if r != nil {
		return nil, r
	}
	var first *Refusal
	for _, a := range aims {
		c, r := g.reach(ctx, d, a, handed)
		if r == nil {
			return c, nil
		}
		if first == nil || first.Code == Forbidden && r.Code != Forbidden {
			first = r
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// aims is what a request comes down to: one address, or some that are tried in
// their order.
func (g *Gate) aims(ctx context.Context, to Request) ([]aim, *Refusal) {
	addr, isAddr := to.addr()
	own, isNode := g.atlas.of(to.Host)
	_, isThere := g.atlas.of(to.Node)
	switch {
	case to.Node != "" && !isThere:
		return nil, refuse(NoTunnel, "there is no node %s", to.Node).do("see which there are: weft get nodes")
	case isAddr:
		return g.at(to, "", []netip.Addr{addr})
	case to.Node != "" && !(isNode && to.Host == to.Node):
		way, _ := route("", to.Node, Place{Kind: Named})
		return []aim{{Request: to, name: to.Host, place: Place{Kind: Named}, way: way}}, nil
	case isNode && len(own) == 0:
		return nil, refuse(Unreachable, "node %s has told no address yet", to.Host)
	case isNode: // its own agent knows which of them is which
		mode, _ := g.atlas.mode()
		at := to
		if tunnelled(mode, NodeAddress) {
			at.Node = to.Host
		}
		return g.at(at, "", own)
	}
	addrs, err := g.Resolve(ctx, to.Host)
	if err != nil {
		return nil, failed(ctx, "resolve "+to.Host, err).do("name the node whose resolver knows it: weft dial NODE HOST:PORT, or the header Weft-Node on CONNECT")
	}
	if len(addrs) > maxAddresses {
		addrs = addrs[:maxAddresses]
	}
	return g.at(to, to.Host, addrs)
}

// at are the aims of a request at some addresses. One that cannot be told apart is
// left out while there are others.
func (g *Gate) at(to Request, name string, addrs []netip.Addr) (out []aim, bad *Refusal) {
	mode, _ := g.atlas.mode()
	for _, addr := range addrs {
		addr = addr.Unmap()
		a := aim{Request: to, addr: addr, name: name, place: g.atlas.place(addr)}
		var r *Refusal
		if a.way, r = route(mode, to.Node, a.place); r != nil {
			bad = refuse(r.Code, "%v %s", addr, r.Reason).do("%s", r.Remedy)
			continue
		}
		out = append(out, a)
	}
	if len(out) == 0 {
		if bad == nil {
			bad = refuse(Unreachable, "%s has no address", to.Host)
		}
		return nil, bad
	}
	return out, nil
}

// reach dials one address, whichever way. Nothing is dialled that the rules do not
// allow there.
func (g *Gate) reach(ctx context.Context, d *trace, a aim, handed bool) (Conn, *Refusal) {
	if a.way.Via == ByAny {
		a.way.Node = g.anyNode(ctx)
	}
	d.toward(a)
	d.step("route")
	if a.way.Via != Direct && a.way.Node == "" {
		return g.fallback(ctx, d, a, refuse(NoTunnel, "%s %s, and no node has a tunnel to a server", a.host(), a.way.Why))
	}
	if r := g.permit(d.by, a); r != nil {
		d.step("permit")
		return nil, r
	}
	d.step("permit")
	if a.way.Via == Direct {
		return g.direct(ctx, d, a)
	}
	c, r := g.through(ctx, d, a, handed)
	if r != nil && r.Code == NoTunnel && !handed {
		return g.fallback(ctx, d, a, r)
	}
	return c, r
}

// fallback is what becomes of a dial without a tunnel: its refusal, or, where the
// cluster says so, a dial from here. A node that was asked for by name is not
// replaced: another place may answer at the same address.
func (g *Gate) fallback(ctx context.Context, d *trace, a aim, why *Refusal) (Conn, *Refusal) {
	_, fallback := g.atlas.mode()
	if fallback != kind.FallbackDirect || a.Node != "" && a.Node != a.Host || !a.addr.IsValid() {
		return nil, why
	}
	a.way = Way{Via: Direct, Why: why.Reason + "; egressFallback is direct"}
	d.toward(a)
	if r := g.permit(d.by, a); r != nil {
		return nil, r
	}
	return g.direct(ctx, d, a)
}

// direct dials from this server.
func (g *Gate) direct(ctx context.Context, d *trace, a aim) (Conn, *Refusal) {
	c, err := g.Config.Dial(ctx, netip.AddrPortFrom(a.addr, a.Port))
	d.step("dial")
	g.counters.lookedUp("direct")
	if err != nil {
		return nil, failed(ctx, "dial "+netip.AddrPortFrom(a.addr, a.Port).String()+" from this server", err)
	}
	return c, nil
}

// failed says why something that this server did failed.
func failed(ctx context.Context, what string, err error) *Refusal {
	code := Unreachable
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) {
		code = TimedOut
	}
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return refuse(code, "%s: %s", what, strings.ReplaceAll(err.Error(), "\n", " "))
}

// node is the node that a dial went by, for whoever writes it down.
func (d *trace) node() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.way.Node
}
