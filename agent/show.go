package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/uplink"
	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// showAfter is how long what is to be shown may wait for more: when a node joins,
// the machine has better to do first.
const showAfter = 250 * time.Millisecond

// turned runs after each turn of the loop: the servers learn at once what was
// applied, and first what was not.
func (a *agent) turned() {
	a.uplink.SetProblems(a.problems())
	a.tellPaths()
	a.uplink.Applied(a.loop.Applied())
	a.touch()
}

// show tells the world how the node is, at once until it is in place and soon
// after every change from then on: servers, node.env, the container runtime,
// systemd.
func (a *agent) show(ctx context.Context) error {
	for {
		there := a.inPlace()
		a.showOnce()
		select {
		case <-ctx.Done():
			return nil
		case <-a.dirty:
		case <-a.joins.ripe(time.Now()):
		}
		if there && !pause(ctx, showAfter) {
			return nil
		}
	}
}

func (a *agent) showOnce() {
	a.uplink.SetEndpoints(a.endpoints())
	a.uplink.SetPools(a.pools())
	n, _ := a.withUnderlay()
	var problems []intent.Problem
	if err := writeEnv(a.cfg.RunDir, nodeEnv(n, a.host.view().underlay)); err != nil {
		problems = append(problems, intent.Problem{Subject: filepath.Join(a.cfg.RunDir, envName), Cause: err.Error(), Remedy: "make the run folder writable"})
	}
	problems = append(problems, a.configureRuntime()...)
	problems = append(problems, a.showSubnet(n)...)
	a.setProblems("show", problems)
	a.uplink.SetSettings(a.settings.written())
	looked := a.outlook.done.Load() // before what it has found
	a.uplink.SetProblems(a.problems())
	a.uplink.SetLooking(!looked)
	if a.inPlace() {
		a.ready("the fabric is up")
	}
}

// inPlace tells whether some intent with a lease has been applied, on a network
// below.
func (a *agent) inPlace() bool {
	n, _ := a.uplink.Intent()
	self, _ := n.Self()
	return len(self.Lease) > 0 && a.loop.Applied() > 0 && len(a.host.view().underlay) > 0
}

// waiting says what the node still lacks.
func (a *agent) waiting() string {
	if len(a.host.view().underlay) == 0 {
		return "no address for the fabric yet; the agent goes on looking"
	}
	return "no intent yet; the agent goes on trying"
}

// ready tells systemd once.
func (a *agent) ready(why string) {
	a.readyOnce.Do(func() {
		a.log.Info("agent ready", note.Why, why)
		if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
			a.log.Warn("systemd not notified", note.Err, err)
		}
	})
}

// impatient tells systemd after a while that nothing came.
func (a *agent) impatient(ctx context.Context) error {
	if pause(ctx, patience) {
		a.ready(a.waiting())
	}
	return nil
}

// configureRuntime writes the CNI configuration once an ADD would succeed, and
// leaves it from then on: a runtime without configuration evicts its node.
func (a *agent) configureRuntime() []intent.Problem {
	dir := findConfDir(a.cfg.CNIConfDir)
	if dir == "" {
		return nil
	}
	err := a.pods.Status(cniwire.Request{Verb: cniwire.Status, Config: []byte(`{"type":"` + pluginName + `"}`)})
	if e := cniwire.AsError(err); (e == nil || e.Code == cniwire.CodeLimited) && a.inPlace() {
		if err := writeConflist(dir, a.cniSocket()); err != nil {
			return []intent.Problem{{Subject: filepath.Join(dir, conflistName), Cause: err.Error(), Remedy: "make the folder writable, or choose another with --cni-conf-dir"}}
		}
	}
	return nil
}

// persistent is how long a problem must stand before pods count as limited by it:
// a runtime that hears so takes its node out of service, so what the loop mends by
// itself in a moment is not told.
const persistent = 30 * time.Second

// degraded says why pods may have limited connectivity, or nothing.
func (a *agent) degraded() string {
	if a.loop.Applied() == 0 {
		return "no complete intent is in place yet"
	}
	return lasting(a.loop.Problems(), time.Now())
}

// lasting words the problems that have stood for long.
func lasting(ps []intent.Problem, now time.Time) string {
	n, first := 0, intent.Problem{}
	for _, p := range ps {
		if now.Sub(time.Unix(p.SinceUnix, 0)) < persistent {
			continue
		}
		if n++; n == 1 {
			first = p
		}
	}
	switch n {
	case 0:
		return ""
	case 1:
		return first.Subject + ": " + first.Cause
	}
	return fmt.Sprintf("%s: %s (and %d more)", first.Subject, first.Cause, n-1)
}

// pools is how far the node's prefixes are used.
func (a *agent) pools() uplink.Pools {
	p := a.pods.Pools()
	out := uplink.Pools{Epoch: p.Epoch, Revision: p.Revision}
	for _, u := range p.Of {
		out.Of = append(out.Of, uplink.PoolUse(u))
	}
	return out
}

func (a *agent) endpoints() []uplink.Endpoint {
	var out []uplink.Endpoint
	for _, e := range a.pods.Endpoints() {
		out = append(out, uplink.Endpoint(e))
	}
	return out
}

// setProblems replaces what one part of the root found, and tells whether that is news.
func (a *agent) setProblems(source string, ps []intent.Problem) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.found[source]
	a.found[source] = ps
	return !slices.Equal(was, ps)
}

// problems gathers what every room has to complain of.
func (a *agent) problems() []intent.Problem {
	n, _ := a.uplink.Intent()
	out := slices.Concat(a.host.view().problems, named(a.loop.Problems(), n), a.pods.Problems(), a.breaks.problems(), a.tailnet.problems())
	a.mu.Lock()
	defer a.mu.Unlock()
	out = append(out, a.joins.told(a.found["plan"], n, time.Now())...)
	for _, source := range []string{"show", "host", "look", "plugin", "egress", "pairs"} {
		out = append(out, a.found[source]...)
	}
	return out
}

// report tells peers how to reach this node. Without an address now, they are told
// the last; a node that never had one has nothing to report yet.
func (a *agent) report() {
	us := a.host.view().underlay
	if len(us) == 0 {
		n, _ := a.uplink.Intent()
		self, _ := n.Self()
		us = self.Underlay
	}
	if len(us) == 0 {
		return
	}
	how, kind := a.pairs.report()
	a.uplink.SetReport(uplink.Report{
		Underlay: us, External: a.cfg.ExternalIPs, VTEP: a.uplink.VTEP(), Mesh: how,
		Capabilities: capabilities(kind), Labels: a.cfg.NodeLabels, Kernel: a.release,
		Announced: a.cfg.Announced, HostPorts: a.cfg.HostPorts,
	})
}

// capabilities of the node's kernel and of its agent.
func capabilities(wireguard string) []string {
	out := []string{"vxlan", "nftables", intent.CapabilityMesh, intent.CapabilityShared}
	switch wireguard {
	case kernel.InKernel:
		out = append(out, intent.CapabilityKernel)
	case kernel.InUserspace:
		out = append(out, intent.CapabilityGo)
	}
	return out
}

// watchdog tells systemd that the agent is alive, which it proves by asking the
// loop, the pods and the uplink: each answers under its own lock.
func (a *agent) watchdog(ctx context.Context) error {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return err
	}
	for pause(ctx, every/3) {
		a.problems()
		a.uplink.Status()
		if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
			return errors.Join(errors.New("agent: systemd's watchdog"), err)
		}
	}
	return nil
}
