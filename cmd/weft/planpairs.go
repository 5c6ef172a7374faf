package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// pairMove is what becomes of pairs that move alike.
type pairMove struct {
	Count  int      `json:"count"`
	Before string   `json:"before"`
	After  string   `json:"after"`
	Why    string   `json:"why"`
	Pairs  []string `json:"pairs"` // the first of them
	// Now counts them by the way that their lower-named nodes send by now, as far as these
	// have said so.
	Now map[string]int `json:"now,omitempty"`
	// Cut are the first of those that would have no way, as far as is known: see cutOff.
	Cut      []string `json:"cut,omitempty"`
	CutCount int      `json:"cutCount,omitempty"`
}

// movesOf compares by what pairs of nodes may go before and after, by the rule that
// servers and agents share. Every node is told the same of it.
func movesOf(plans []*weftv1.NodePlan) []pairMove {
	for _, n := range plans {
		if n.GetBefore() != nil && n.GetAfter() != nil {
			before, _ := decoded(n, n.GetBefore())
			after, _ := decoded(n, n.GetAfter())
			return moves(before, after, rungsOf(plans))
		}
	}
	return nil
}

// rungsOf is by which ways nodes send now, by node and peer.
func rungsOf(plans []*weftv1.NodePlan) map[[2]string]string {
	out := map[[2]string]string{}
	for _, n := range plans {
		for _, s := range n.GetSends() {
			out[[2]string{n.GetNode(), s.GetPeer()}] = s.GetRung()
		}
	}
	return out
}

func moves(before, after intent.Node, now map[[2]string]string) []pairMove {
	var out []pairMove
	for i, a := range after.Peers {
		wasA, ok := before.Peer(a.Name)
		if !ok {
			continue // it joins
		}
		for _, b := range after.Peers[i+1:] {
			wasB, ok := before.Peer(b.Name)
			if !ok {
				continue
			}
			was, _ := ways(before.Cluster, wasA, wasB)
			is, why := ways(after.Cluster, a, b)
			pair := [2]string{a.Name, b.Name}
			if was != is {
				out = add(out, pairMove{Before: was, After: is, Why: why}, pair, now[pair])
				if cutOff(after.Cluster, a, b, now[pair]) {
					out = cut(out, pairMove{Before: was, After: is, Why: why}, pair)
				}
				continue
			}
			if m, ok := renumbered(before.Cluster, after.Cluster, a, b); ok {
				out = add(out, m, pair, now[pair])
			}
		}
	}
	slices.SortStableFunc(out, func(x, y pairMove) int { return y.Count - x.Count })
	return out
}

// renumbered is what becomes of a pair that keeps its transports where these get other
// numbers: VXLAN another VNI or port, WireGuard other ports and with them other keys; or
// where pre-shared keys are wanted, which only tunnels of other keys have.
func renumbered(was, is intent.Cluster, a, b intent.Peer) (pairMove, bool) {
	var before, after, why []string
	vxlan := func(c intent.Cluster) string {
		return intent.Carrier{Backend: intent.VXLAN, VNI: c.VNI, Port: c.VXLANPort}.String()
	}
	sealed := func(c intent.Cluster) string { return fmt.Sprintf("%s on UDP %d", intent.Sealed, c.WireGuardPort) }
	if vxlan(was) != vxlan(is) && (is.Path(a, b).Transport == intent.Overlay || is.Meshed() && is.Ways(a, b).VXLAN.OK) {
		field := "vni"
		if was.VNI == is.VNI {
			field = "vxlanPort"
		}
		before, after, why = append(before, vxlan(was)), append(after, vxlan(is)), append(why, field)
	}
	if sealed(was) != sealed(is) && is.Meshed() && is.Ways(a, b).WireGuard.OK {
		before, after, why = append(before, sealed(was)), append(after, sealed(is)), append(why, "wireguardPort, and new keys")
	}
	if !was.PostQuantum && is.PostQuantum && is.Meshed() && is.Ways(a, b).WireGuard.OK {
		if len(why) == 0 || before[len(before)-1] != sealed(was) {
			before, after = append(before, sealed(was)), append(after, sealed(is))
		}
		after[len(after)-1] += " with pre-shared keys"
		why = append(why, "postQuantum, and new keys")
	}
	const and = " and "
	return pairMove{Before: strings.Join(before, and), After: strings.Join(after, and), Why: strings.Join(why, and)}, len(why) > 0
}

// cutOff tells whether a pair would have no way, as far as is known: VXLAN alone goes to
// a node's own address and asks nobody whether it arrives. The pair has found that out
// already where it meets through routers or a server; else a router before one of the two
// tells, unless the pair goes in the clear now.
func cutOff(c intent.Cluster, a, b intent.Peer, now string) bool {
	p := c.Path(a, b)
	if c.Toward(a.Name, b.Name).Carrier().Meshed() || p.Transport != intent.Overlay {
		return false
	}
	switch now {
	case mesh.Punched.String(), mesh.ByServer.String():
		return true
	case mesh.Direct.String(), mesh.VXLAN.String():
		return false
	}
	is4 := p.Local.Addr.Addr().Is4()
	return !intent.SameLink(p.Local, p.Remote) && (a.NATOf(is4).Hides() || b.NATOf(is4).Hides())
}

// cut counts a pair among those that would have no way.
func cut(list []pairMove, m pairMove, pair [2]string) []pairMove {
	i := slices.IndexFunc(list, m.alike)
	list[i].CutCount++
	if len(list[i].Cut) < most {
		list[i].Cut = append(list[i].Cut, pair[0]+"-"+pair[1])
	}
	return list
}

func (m pairMove) alike(o pairMove) bool {
	return o.Before == m.Before && o.After == m.After && o.Why == m.Why
}

// add counts a pair among those that move alike. Now is its way at the moment; empty: not
// known.
func add(list []pairMove, m pairMove, pair [2]string, now string) []pairMove {
	i := slices.IndexFunc(list, m.alike)
	if i < 0 {
		i, list = len(list), append(list, m)
	}
	list[i].Count++
	if len(list[i].Pairs) < most {
		list[i].Pairs = append(list[i].Pairs, pair[0]+"-"+pair[1])
	}
	if now != "" {
		if list[i].Now == nil {
			list[i].Now = map[string]int{}
		}
		list[i].Now[now]++
	}
	return list
}

// ways are the transports that a pair may use, and why no others.
func ways(c intent.Cluster, a, b intent.Peer) (text, why string) {
	if !c.Meshed() {
		p := c.Path(a, b)
		return string(p.Transport), p.Why
	}
	w := c.Ways(a, b)
	var words []string
	for _, way := range []struct {
		name intent.Transport
		intent.Way
	}{{intent.Direct, w.Direct}, {intent.Overlay, w.VXLAN}, {intent.Sealed, w.WireGuard}} {
		if way.OK {
			words, why = append(words, string(way.name)), way.Why
		}
	}
	switch {
	case len(words) == 0:
		return string(intent.NoPath), w.WireGuard.Why
	case w.Direct.OK || w.VXLAN.OK:
		why = w.VXLAN.Why
	case w.Direct.Why != w.WireGuard.Why: // why it must be encrypted
		why = w.Direct.Why
	}
	if last := len(words) - 1; last > 0 {
		return strings.Join(words[:last], ", ") + " or " + words[last], why
	}
	return words[0], why
}

// movesText is what becomes of pairs, the most first.
func movesText(list []pairMove) string {
	if len(list) == 0 {
		return ""
	}
	var b strings.Builder
	all := 0
	for _, m := range list {
		all += m.Count
	}
	verb := "move"
	if all == 1 {
		verb = "moves"
	}
	fmt.Fprintf(&b, "%s %s, each when its new way is proved or prepared at both ends; the old one goes after the last\n", count(all, "pair"), verb)
	for _, m := range list {
		fmt.Fprintf(&b, "  %d  %s -> %s: %s  (%s)\n", m.Count, m.Before, m.After, m.Why, firstOf(m.Pairs, m.Count))
		var now []string
		for _, rung := range slices.Sorted(maps.Keys(m.Now)) {
			now = append(now, fmt.Sprint(m.Now[rung], " ", rung))
		}
		if len(now) > 0 {
			fmt.Fprintf(&b, "     now: %s\n", strings.Join(now, ", "))
		}
		if m.CutCount > 0 {
			fmt.Fprintf(&b, "     CUT OFF, as far as is known: %d of them. VXLAN goes to a node's own address, and these meet through routers or relays, which backend auto and wireguard find  (%s)\n",
				m.CutCount, firstOf(m.Cut, m.CutCount))
		}
	}
	return b.String()
}

// firstOf names the first of so many.
func firstOf(names []string, all int) string {
	text := strings.Join(names, ", ")
	if more := all - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
