package uplink

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weft-net/weft/agent/proxy"
	"github.com/weft-net/weft/agent/uplink/tunnels"
	"github.com/weft-net/weft/proto/connect"
	"github.com/weft-net/weft/proto/intent"
)

// How long a tunnel is missing before that is a problem: a server that is started
// again is back sooner.
const (
	refusedTold  = 10 * time.Second // one server says no
	noneTold     = 30 * time.Second // there is none to any
	tunnelsAgain = 5 * time.Second  // between looks
)

// watchTunnels tells of tunnels that are missing for long.
func (u *Uplink) watchTunnels(ctx context.Context) error {
	for u.cfg.Tunnel != nil && sleepUntil(ctx, time.Now().Add(tunnelsAgain), nil) {
		u.tellTunnels()
	}
	return nil
}

func (u *Uplink) tellTunnels() {
	var ps []intent.Problem
	if u.Status().Server != "" { // else that is the problem
		ps = tunnelProblems(u.tuns.List(), time.Now())
	}
	u.out.setProblems("tunnels", ps)
}

// tunnelProblems is what a person has to do about tunnels. A server that is away
// while another has one is no problem of this node's: dials go by way of that.
func tunnelProblems(ts []tunnels.Tunnel, now time.Time) []intent.Problem {
	var out []intent.Problem
	var down []tunnels.Tunnel
	some := false
	for _, t := range ts {
		switch {
		case t.State == tunnels.Up:
			some = true
		case t.State == tunnels.Refused && now.Sub(t.Since) >= refusedTold:
			out = append(out, tunnelProblem(t))
		case t.State == tunnels.Down && now.Sub(t.Since) >= noneTold:
			down = append(down, t)
		}
	}
	if !some && len(out) == 0 && len(down) > 0 {
		out = append(out, tunnelProblem(down[0]))
	}
	return out
}

func tunnelProblem(t tunnels.Tunnel) intent.Problem {
	p := intent.Problem{
		Subject: "tunnel to " + t.Server, SinceUnix: t.Since.Unix(), Cause: fmt.Sprintf("no tunnel to server %s", t.Server),
		Remedy: "what dials this node by way of the servers does not reach it, all else runs on; look at what stands between and lets no websocket pass (HTTPS, GET " + tunnelPath + ")",
	}
	if t.Err == nil {
		return p
	}
	p.Cause += ": " + strings.TrimPrefix(t.Err.Error(), "uplink: ")
	if by := (*proxy.Error)(nil); errors.As(t.Err, &by) {
		p.Remedy = by.Remedy
	}
	// A server's sentence ends with a remedy of its own, if it knows one.
	if r := (*connect.Refusal)(nil); errors.As(t.Err, &r) {
		if said, remedy, ok := strings.Cut(r.Reason, "; "); ok {
			p.Cause, p.Remedy = "no tunnel to server "+t.Server+": "+said, remedy
		}
	}
	return p
}
