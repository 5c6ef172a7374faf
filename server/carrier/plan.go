package carrier

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
)

// Node is what is known of one node that carries packets.
type Node struct {
	Name    string
	Applied int64 // newest revision of this epoch that its kernel is at
	Live    bool  // a server hears its agent
	// Meshes says that its agent knows carriers whose pairs choose their way. Of such
	// pairs it has said, by revision Told of this epoch, that Old still send by a carrier
	// which the fabric leaves.
	Meshes bool
	Told   int64
	Old    uint32
}

// Place is where the fabric is.
type Place struct {
	kind.CarriageSpec
	Revision int64 // of the carriage
	// Returned says that a change was given up already on the way to what is wanted.
	Returned bool
}

// Times are how patient a change is.
type Times struct {
	Patience time.Duration // with a node that is heard and does not apply what it was sent
	Linger   time.Duration // between the last word of the nodes and the end of a carrier
	Yield    time.Duration // with pairs that do not come to a carrier which nobody wants any more
}

// Step is what to do now. Without a Reason there is nothing but to wait for the
// nodes named, if any.
type Step struct {
	Next    kind.CarriageSpec
	Reason  string // of an event
	Message string
	Waits   []string
	For     intent.Carrier // the third carrier for which it gives a change up; zero: it does not
}

// Plan says what comes next on the way to a carrier.
func Plan(want intent.Carrier, p Place, nodes []Node, now time.Time, t Times) Step {
	there := p.Send.Is(want)
	switch {
	case there && len(p.Receive) == 0:
		return Step{}
	case len(p.Receive) == 0:
		return p.prepare(want)
	case there && !p.Switched:
		return Step{Next: kind.CarriageSpec{Send: p.Send}, Reason: "CarrierKept", Message: fmt.Sprintf("back to %v before anything was sent otherwise", p.Send)}
	case p.Switched && p.Receive[0].Is(want):
		return p.back(fmt.Sprintf("back to %v, which is still received", want))
	case p.Switched && !there && !p.Returned && len(p.moving(nodes)) > 0 && p.stood(t.Yield, now):
		// What nobody wants any more may never be reached, and must not stand before what
		// is: it may be encryption.
		step := p.back(fmt.Sprintf("back to %v before %v comes: pairs of %s have not come to %v", p.Receive[0], want, named(p.moving(nodes)), p.Send))
		step.For = want
		return step
	case p.Switched:
		return p.leave(nodes, now, t)
	case p.Receive[0].Is(want):
		return p.turn(nodes, now, t)
	}
	return p.prepare(want) // nobody sends by what was prepared
}

// prepare has all nodes receive by a carrier to come. A further VXLAN has the devices
// that the one in use has not, unless it is the same VXLAN.
func (p Place) prepare(want intent.Carrier) Step {
	if want.VXLANs() && p.Send.VXLANs() {
		same := want.VNI == p.Send.VNI && want.Port == p.Send.Port // one device for both
		want.Spare = p.Send.Spare == same
	}
	return Step{
		Next:   kind.CarriageSpec{Send: p.Send, Receive: []intent.Carrier{want}},
		Reason: "CarrierPrepared", Message: fmt.Sprintf("nodes prepare to receive by %v, and send by %v until they do", want, p.Send),
	}
}

// turn has all send by what they are prepared for. Those that are not heard, or do
// not come to it, are reached as before.
func (p Place) turn(nodes []Node, now time.Time, t Times) Step {
	var behind, live []string
	for _, n := range nodes {
		if p.applied(n) {
			continue
		}
		behind = append(behind, n.Name)
		if n.Live && p.knows(n) { // no patience makes a release know what it does not
			live = append(live, n.Name)
		}
	}
	if len(live) > 0 && !p.stood(t.Patience, now) {
		return Step{Waits: live}
	}
	if len(behind) > intent.MaxBehind {
		return Step{Waits: behind}
	}
	slices.Sort(behind)
	next := kind.CarriageSpec{Send: p.Receive[0], Receive: []intent.Carrier{p.Send}, Switched: true, Behind: behind}
	step := Step{Next: next, Reason: "CarrierChanged", Message: fmt.Sprintf("sent by %v; no longer by %v", next.Send, p.Send)}
	if len(behind) > 0 {
		step.Message = fmt.Sprintf("sent by %v; by %v to and from %s, which has not said that it is prepared", next.Send, p.Send, named(behind))
	}
	return step
}

// back turns round where the change stands.
func (p Place) back(message string) Step {
	return Step{
		Next:   kind.CarriageSpec{Send: p.Receive[0], Receive: []intent.Carrier{p.Send}, Switched: true, Behind: p.Unaware, Unaware: p.Behind},
		Reason: "CarrierChanged", Message: message,
	}
}

// moving names those that have the carriage and have not said that all their pairs go by
// what is sent by now.
func (p Place) moving(nodes []Node) []string {
	var out []string
	for _, n := range nodes {
		if p.meshed() && p.applied(n) && n.Live && (n.Told < p.Revision || n.Old > 0) {
			out = append(out, n.Name)
		}
	}
	slices.Sort(out)
	return out
}

// leave drops what is not sent by any more, when all have said so.
func (p Place) leave(nodes []Node, now time.Time, t Times) Step {
	var late []string
	for _, n := range nodes {
		// One that does not know never sent by what is left, and sends by this.
		if !p.applied(n) && (p.knows(n) || p.Send.NeedsMesh()) {
			late = append(late, n.Name)
		}
	}
	slices.Sort(late)
	moving := p.moving(nodes)
	next := p.CarriageSpec
	next.Behind = slices.DeleteFunc(slices.Clone(p.Behind), func(name string) bool { return !slices.Contains(late, name) })
	switch {
	case len(next.Behind) < len(p.Behind):
		message := fmt.Sprintf("sent by %v to all nodes now", p.Send)
		if len(next.Behind) > 0 {
			message = fmt.Sprintf("sent by %v to all nodes but %s", p.Send, named(next.Behind))
		}
		return Step{Next: next, Reason: "CarrierChanged", Message: message}
	case len(late)+len(moving) > 0:
		return Step{Waits: append(late, moving...)}
	case !p.stood(t.Linger, now):
		return Step{}
	}
	return Step{Next: kind.CarriageSpec{Send: p.Send}, Reason: "CarrierLeft", Message: fmt.Sprintf("%v is not received any more: all nodes send by %v", p.Receive[0], p.Send)}
}

// meshed tells whether by any carrier of the carriage pairs choose their way, or a
// tailnet does: nodes then say by which their pairs are sent to.
func (p Place) meshed() bool {
	return slices.ContainsFunc(append([]intent.Carrier{p.Send}, p.Receive...), intent.Carrier.NeedsMesh)
}

// knows tells whether a node's agent reads the carriage. One that does not goes on by
// what it was told last, which is the carrier before: it counts as behind.
func (p Place) knows(n Node) bool { return n.Meshes || !p.meshed() }

// applied tells whether a node is at the carriage.
func (p Place) applied(n Node) bool { return n.Applied >= p.Revision && p.knows(n) }

// stood tells whether the carriage has been as it is for some time. A clock that was
// set back starts that time anew, by the whole way that it was set.
func (p Place) stood(d time.Duration, now time.Time) bool {
	return now.Sub(time.Unix(p.AtUnix, 0)) >= d
}

// named is some of the names.
func named(names []string) string {
	const most = 6
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > most:
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
