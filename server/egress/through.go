package egress

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode"

	rules "github.com/weft-net/weft/proto/egress"
)

// maxTries bounds how often a tunnel is looked for that was there a moment ago.
const maxTries = 3

// errGone is what Link.Open answers when the tunnel has ended or takes no streams
// any more: the next one may.
var errGone = errors.New("the tunnel has ended")

// through dials by way of a node; one whose tunnel has just ended gets a moment to
// come again.
func (g *Gate) through(ctx context.Context, d *trace, a aim, handed bool) (Conn, *Refusal) {
	c, r := g.by(ctx, d, a, handed)
	if r == nil || r.Code != NoTunnel || handed || !g.sessions.again(ctx, a.way.Node) {
		return c, r
	}
	return g.by(ctx, d, a, handed)
}

// by dials by way of a node: over its tunnel here, or over another server that has
// one.
func (g *Gate) by(ctx context.Context, d *trace, a aim, handed bool) (Conn, *Refusal) {
	last := refuse(NoTunnel, "node %s has no tunnel to server %s", a.way.Node, g.Server).do("on the node: weft status --local")
	var tried *session
	for range maxTries {
		if s := g.sessions.get(a.way.Node); s != nil && s != tried {
			tried = s
			c, err := g.openAt(ctx, d, a, s)
			if !errors.Is(err, errGone) {
				g.counters.lookedUp("here")
				return c, refusedBy(ctx, a, err)
			}
			continue // its next may be here already
		}
		if handed || ctx.Err() != nil {
			break
		}
		c, r, outdated := g.overOther(ctx, d, a)
		if r == nil || !outdated {
			return c, r
		}
		last = r
	}
	g.counters.lookedUp("none")
	return nil, last
}

// openAt opens a stream of a tunnel.
func (g *Gate) openAt(ctx context.Context, d *trace, a aim, s *session) (Conn, error) {
	target := rules.Request{
		ID: d.id, Host: a.host(), Port: a.Port, Node: a.way.Node,
		By: rules.Asker{User: d.by.User, Role: d.by.Role, Front: d.by.Front},
	}
	c, err := s.link.Open(ctx, target.Encode())
	d.step("open")
	return c, err
}

// refusedBy is the answer of a node in our words.
func refusedBy(ctx context.Context, a aim, err error) *Refusal {
	if err == nil {
		return nil
	}
	var r *Refusal
	if errors.As(err, &r) {
		out := *r
		out.Reason = "node " + a.way.Node + ": " + oneLine(r.Reason)
		if r.Code == Forbidden && r.Rule == "" {
			out.Rule = ruleOfNode
		}
		return &out
	}
	return failed(ctx, "open a stream to node "+a.way.Node+" for "+a.Request.String(), err)
}

// oneLine is what a node says, as far as it can be printed.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// ruleOfNode is the rule of a refusal whose node did not say which it was.
const ruleOfNode = "node"

// anyNode is an agent that dials what is no node's, empty if there is none: one
// that carries the label before the others, one here before one elsewhere.
func (g *Gate) anyNode(ctx context.Context) string {
	preferred := g.atlas.defaultRoutes()
	if s := g.sessions.least(preferred); s != nil {
		return s.node
	}
	for _, node := range preferred[:min(len(preferred), maxTries)] {
		if servers, _ := g.elsewhere(ctx, node); len(servers) > 0 {
			return node
		}
	}
	if s := g.sessions.any(); s != nil {
		return s.node
	}
	for _, t := range g.others(ctx) {
		if t.GetState() == Ready {
			return t.GetNode()
		}
	}
	return ""
}

// permit asks the rules, of the node that dials or, of what is dialled from here,
// of the node whose the address is.
func (g *Gate) permit(by Asker, a aim) *Refusal {
	v := g.check(by, a)
	if v.Allow {
		return nil
	}
	r := &Refusal{Code: Forbidden, Rule: v.Rule, Reason: v.Reason, Remedy: v.Remedy}
	if !strings.Contains(r.Reason, a.Host) && a.name != "" {
		r.Reason = a.name + ": " + r.Reason
	}
	return r
}

// check is what the rules say.
func (g *Gate) check(by Asker, a aim) rules.Verdict {
	asker := rules.Asker{User: by.User, Role: by.Role, Front: by.Front}
	target := rules.Target{Host: a.name, Addr: a.addr, Port: a.Port}
	if a.way.Via != Direct {
		return g.atlas.rules(a.way.Node, a.addr).Check(asker, target)
	}
	node := ""
	if len(a.place.Nodes) > 0 {
		node = a.place.Nodes[0]
	}
	if a.Node != "" && slices.Contains(a.place.Nodes, a.Node) {
		node = a.Node
	}
	r := g.atlas.rules(node, a.addr)
	r.Ahead, r.Server = false, g.Server
	target.Own = g.Own(a.addr)
	return r.Check(asker, target)
}
