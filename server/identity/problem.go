package identity

import (
	"fmt"
	"strings"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// soon is how long before its end a certificate is a problem.
const soon = 30 * 24 * time.Hour

// Problems is what a person should know of who is who.
func (a *Authority) Problems() []*weftv1.Problem {
	now := time.Now()
	out := a.rotationProblems()
	if ends := a.Ends(); ends.Sub(now) < soon {
		out = append(out, &weftv1.Problem{
			Subject: "CA", Cause: fmt.Sprintf("the CA ends on %s, %s; after it no node can join or renew", date(ends), in(ends, now)),
			Remedy: "weft rotate ca",
		})
	}
	for _, u := range a.users() {
		if p := u.problem(now); p != nil {
			out = append(out, p)
		}
	}
	for _, n := range a.Nodes() {
		out = append(out, a.nodeProblems(n, now)...)
	}
	return out
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// in says when something is, or was, in days.
func in(t, now time.Time) string {
	days := int(t.Sub(now).Hours() / 24)
	switch {
	case t.Before(now):
		return fmt.Sprintf("%d d ago", -days)
	case days == 0:
		return "within a day"
	}
	return fmt.Sprintf("in %d d", days)
}

func (a *Authority) rotationProblems() []*weftv1.Problem {
	r := a.Rotation()
	p := &weftv1.Problem{Subject: "CA"}
	if !r.Since.IsZero() {
		p.SinceUnix = r.Since.Unix()
	}
	switch {
	case r.Phase == PhaseSteady && len(r.Restart) > 0:
		p.Cause = "the etcd of " + some(r.Restart) + " goes by the roots from before the rotation until it starts again"
		p.Remedy = "restart one after the other: systemctl restart weft-server"
	case r.Phase == PhaseSteady:
		return nil
	case r.Phase == PhaseSpreading && len(r.Waiting) > 0:
		p.Cause = fmt.Sprintf("rotation: the new root is trusted by %d of %d nodes, not yet by %s", r.Trusting, r.Nodes, some(r.Waiting))
		p.Remedy = "it goes on by itself when they are back; to go on without them: weft rotate ca --force"
	case r.Phase == PhaseSpreading:
		p.Cause, p.Remedy = fmt.Sprintf("rotation: the new root is trusted by all %d nodes", r.Nodes), "nothing: it signs in a moment"
	case len(r.Lagging) > 0:
		p.Cause = fmt.Sprintf("rotation: %d of %d nodes have renewed; only certificates of the old root: %s", r.Renewed, r.Nodes, some(r.Lagging))
		p.Remedy = "nodes and servers renew by themselves, users with weft user renew NAME; then: weft rotate ca --finish"
	default:
		p.Cause, p.Remedy = "rotation: nobody needs the old root any more, and it counts still", "weft rotate ca --finish"
	}
	return []*weftv1.Problem{p}
}

// last is when the last good certificate of a user ends; zero for one that has
// none, or is revoked.
func (u user) last(now time.Time) time.Time {
	p := u.public(now)
	if p.RevokedUnix != 0 || p.Keys == 0 {
		return time.Time{}
	}
	return time.Unix(p.EndsUnix, 0)
}

// problem is a user whose certificate ends soon. One made for a short while says
// nothing before its last tenth.
func (u user) problem(now time.Time) *weftv1.Problem {
	ends := u.last(now)
	if ends.IsZero() || ends.Sub(now) >= soon {
		return nil
	}
	for _, k := range u.Keys {
		if life := k.EndsUnix - k.CreatedUnix; k.EndsUnix == ends.Unix() && ends.Sub(now) >= time.Duration(life)*time.Second/10 && life < int64(soon.Seconds())*2 {
			return nil
		}
	}
	return &weftv1.Problem{
		Subject: "user " + u.Name, Cause: fmt.Sprintf("the certificate of user %s ends on %s, %s", u.Name, date(ends), in(ends, now)),
		Remedy: "weft user renew " + u.Name,
	}
}

func (a *Authority) nodeProblems(n Node, now time.Time) []*weftv1.Problem {
	if n.RevokedUnix != 0 {
		return nil
	}
	var out []*weftv1.Problem
	if n.Former != "" {
		out = append(out, &weftv1.Problem{
			Node: n.Name, Subject: "name", Cause: fmt.Sprintf("the node was renamed from %s, and its agent has not come under the new name yet; its data path goes on as it was", n.Former),
			Remedy: "on the node: start weft-agent with --node-name " + n.Name,
		})
	}
	ends := time.Unix(n.Key.EndsUnix, 0)
	grace := ends.Add(a.config.Grace)
	switch {
	case n.Key.EndsUnix == 0 || now.Before(ends):
	case now.Before(grace):
		out = append(out, &weftv1.Problem{
			Node: n.Name, Subject: "certificate", SinceUnix: n.Key.EndsUnix,
			Cause:  fmt.Sprintf("its certificate ended at %s; it renews by its key when it is back, until %s", utc(n.Key.EndsUnix), date(grace)),
			Remedy: "start its agent, or let it reach a server, before that day",
		})
	default:
		out = append(out, &weftv1.Problem{
			Node: n.Name, Subject: "certificate", SinceUnix: n.Key.EndsUnix,
			Cause:  fmt.Sprintf("its certificate ended at %s, more than %s ago: it cannot renew any more", utc(n.Key.EndsUnix), strings.TrimSuffix(a.config.Grace.String(), "0m0s")),
			Remedy: "let it join again: weft token create --node " + n.Name + " --replace; if it is gone: weft delete node " + n.Name,
		})
	}
	return out
}

// FirstToEnd is the certificate that ends first among those that only a person
// renews; nil: there is none.
func (a *Authority) FirstToEnd() *weftv1.CertificateEnd {
	now := time.Now()
	var first *weftv1.CertificateEnd
	for _, u := range a.users() {
		ends := u.last(now)
		if !ends.IsZero() && (first == nil || ends.Unix() < first.EndsUnix) {
			first = &weftv1.CertificateEnd{Holder: "user " + u.Name, EndsUnix: ends.Unix(), Remedy: "weft user renew " + u.Name}
		}
	}
	return first
}
