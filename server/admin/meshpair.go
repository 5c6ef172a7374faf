package admin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/grpc/status"
)

// heardOf is what is known of pairs that choose their way: what nodes answered now, and
// what they said last.
type heardOf struct {
	cluster intent.Cluster
	asked   map[string]sending
	said    map[string]sends
}

// heardOf adds to what nodes answered what those said last that did not. While the store
// answers nobody that is not known.
func (s *mesh) heardOf(ctx context.Context, all intent.Node, asked map[string]sending) heardOf {
	h := heardOf{all.Cluster, asked, map[string]sends{}}
	var said map[string]kind.PathsObservation
	_, _ = s.heard(ctx, func(ctx context.Context) (err error) { // where that fails, nothing is known
		said, err = s.summaries(ctx)
		return err
	})
	for _, p := range all.Peers {
		if g, ok := asked[p.Name]; ok && g.err != nil {
			h.said[p.Name] = sendsOf(p, said[p.Name])
		}
	}
	return h
}

// pair is one of them in both directions. An end that has said nothing is told by the
// word of the other.
func (h heardOf) pair(a, b intent.Peer) *weftv1.PairPath {
	there, back := h.direction(a, b), h.direction(b, a)
	low, high := there, back
	if b.Name < a.Name {
		low, high = back, there
	}
	there.Counted = judge(counted(low), counted(high))
	for _, d := range []*weftv1.PairPath{there, back} {
		if d.Transport == "" {
			stand(d, there.Counted)
		}
	}
	there.Back = back
	return there
}

// direction is how one node sends to another, without a transport where it has not said.
func (h heardOf) direction(from, to intent.Peer) *weftv1.PairPath {
	out, g := pairPath(from, to, h.cluster.Path(from, to)), h.asked[from.Name]
	if path := g.paths[to.Name]; path != nil {
		live(out, path, from)
		if out.Transport == noRung {
			out.Why = h.apart(from, to)
		}
		return out
	}
	why := errors.New(from.Name + " has not heard of " + to.Name + " yet")
	if g.err != nil {
		why = fmt.Errorf("%s was not asked: %s", from.Name, status.Convert(g.err).Message())
	}
	out.Mtu, out.Unasked = 0, true
	if stand(out, h.said[from.Name].to(to.Name)); out.Transport != "" {
		out.Why = fmt.Sprintf("as it said last; %v", why)
	} else {
		out.Why += fmt.Sprintf(" (%v)", why)
	}
	return out
}

// apart says why a pair has no way.
func (h heardOf) apart(a, b intent.Peer) string {
	if w := h.cluster.Ways(a, b); !w.Direct.OK && !w.VXLAN.OK && !w.WireGuard.OK {
		return w.WireGuard.Why
	}
	return "none that the two may use works"
}

// stand brings in on which rung a direction is counted.
func stand(d *weftv1.PairPath, word string) {
	d.Transport, d.Down = word, word == down || word == noRung
	if rung, via, ok := strings.Cut(strings.TrimSuffix(word, ")"), " ("); ok && word != "relayed (node)" {
		d.Transport, d.Via = rung, via
	}
}

// counted is on which rung a direction is counted: the word that judge reads.
func counted(d *weftv1.PairPath) string {
	switch {
	case d.Transport == noRung || d.Transport == "":
		return d.Transport
	case d.Down:
		return down
	case d.Transport == "relayed" && d.Via != "":
		return "relayed (" + d.Via + ")"
	}
	return d.Transport
}

// live brings in what a node answered of its sending.
func live(d *weftv1.PairPath, path *weftv1.MeshPath, from intent.Peer) {
	d.Transport, d.Via = path.GetRung(), path.GetVia()
	if path.GetMtu() > 0 {
		d.Mtu = path.GetMtu()
	}
	if d.Down = path.GetDown(); d.Down {
		d.Why = "nothing answers"
	}
	for _, r := range path.GetRungs() {
		if !d.Down && r.GetName() == path.GetRung() && r.GetWhy() != "" {
			d.Why = r.GetWhy()
		}
	}
	if at, err := netip.ParseAddrPort(path.GetEndpoint()); err == nil {
		d.FromAddress, d.ToAddress = "", at.Addr().String()
		if u, ok := from.UnderlayOf(at.Addr().Is4()); ok { // the endpoint's family may be another than the pair began with
			d.FromAddress = u.Addr.Addr().String()
		}
	}
}
