package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/firewalld"
	hostroom "github.com/weft-net/weft/agent/host"
	"github.com/weft-net/weft/agent/host/look"
	"github.com/weft-net/weft/agent/nat"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// A look is cheap, but an idle node has better to do: what tells of its changes is
// looked at when they have settled (lull), all else this often.
const lookEvery = 3 * time.Second

// lookMost is for how long an agent that has begun may say that it has not looked yet,
// and for how long looks may fail before that is told.
const lookMost = 10 * time.Second

// firewallKernel is what the outlook needs of the kernel.
type firewallKernel interface {
	look.Kernel
	Stirred() <-chan struct{}
	Counted(ctx context.Context, chain string) (uint64, error)
	Insert(family, table string, r datapath.Rule) error
	Withdraw(family, table, chain string, handle uint64) error
}

// outlook follows what the node's own system does to the fabric.
type outlook struct {
	kernel  firewallKernel
	eyes    look.Eyes
	node    func() hostroom.Node
	guarded func() bool              // there may be a guard
	found   func([]hostroom.Finding) // called when findings have changed
	keep    func()                   // puts back what others have removed, at each look
	there   func() bool              // the fabric is in place: before, a look sees half of it
	looked  func()                   // called once, when what is found is all that there is: done
	blind   func(error)              // called after each look: why none has succeeded for lookMost; nil: one has
	log     *slog.Logger
	lull    lull
	stands  stands
	done    atomic.Bool
	begun   time.Time // the first look
	seen    time.Time // the last that succeeded

	mu   sync.Mutex
	last []hostroom.Finding
}

func (a *agent) newOutlook() *outlook {
	return &outlook{
		lull: lull{stirs: a.kernel.Stirs}, kernel: a.kernel, node: a.hostNode, guarded: a.settings.switchedForwarding, log: a.log,
		eyes: look.Eyes{
			Kernel: a.kernel, Disks: []string{a.cfg.DataDir, a.cfg.RunDir}, Links: a.host.allLinks,
			CNIDir: func() string { return findConfDir(a.cfg.CNIConfDir) },
			Clock:  a.clock,
		},
		keep: func() {
			a.setProblems("plugin", a.keepPlugin())
			if a.settings.stirred() {
				a.loop.Kick(datapath.Of(datapath.KindSysctl))
			}
		},
		found: func(fs []hostroom.Finding) {
			a.setProblems("host", hostroom.Problems(fs))
			a.touch()
		},
		there: a.inPlace, looked: a.touch,
		blind: func(err error) {
			if a.setProblems("look", blindness(err)) {
				a.touch()
			}
		},
	}
}

// blindness is the problem of a host that cannot be looked at.
func blindness(err error) []intent.Problem {
	if err == nil {
		return nil
	}
	return []intent.Problem{{
		Subject: "host", Cause: fmt.Sprintf("looks at the host have failed for more than %v, so faults of it are not known: %v", lookMost, err),
		Remedy: "see what is said, and journalctl -u weft-agent; the agent goes on trying",
	}}
}

// hostNode is what the fabric needs of this host.
func (a *agent) hostNode() hostroom.Node {
	n, _ := a.withUnderlay()
	self, _ := n.Self()
	out := hostroom.Node{
		Cluster: n.Cluster, Lease: self.Lease, Underlay: a.host.view().underlay,
		MarkMask: a.cfg.markMask(), ManageRPFilter: a.cfg.ManageRPFilter, IntegrateFirewall: a.cfg.IntegrateFirewall,
	}
	out.Mesh = a.pairs.needs(n, self)
	for _, p := range n.Peers {
		if p.Name != n.Name && len(p.Underlay) > 0 && len(out.Peers) < 2 {
			out.Peers = append(out.Peers, p.Underlay[0].Addr.Addr())
		}
	}
	return out
}

// run looks every so often, and soon after the firewalls of others have changed.
func (o *outlook) run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	defer o.eyes.Close()
	o.begun, o.seen = time.Now(), time.Now()
	for {
		there := o.there()
		err := o.once(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			o.log.Warn("host not looked at", note.Err, err, note.Retry, lookEvery)
		}
		o.settle(there, err, time.Now())
		if !o.next(ctx, tick.C) || !o.lull.wait(ctx) {
			return nil
		}
	}
}

// next returns when it is time for another look, or false when ctx has ended.
func (o *outlook) next(ctx context.Context, tick <-chan time.Time) bool {
	if o.lull.broken() {
		return true
	}
	var stood <-chan time.Time
	if o.stands.open() || !o.done.Load() {
		stood = time.After(stand)
	}
	select {
	case <-ctx.Done():
		return false
	case <-tick:
	case <-stood:
	case <-o.kernel.Stirred():
	}
	return true
}

// settle tells once that the host has been looked at: by a look at the whole of the fabric
// after which nothing is left that may yet come to stand. One that never succeeds is no
// reason to keep others waiting, but to be told.
func (o *outlook) settle(there bool, err error, now time.Time) {
	if err == nil {
		o.seen = now
	}
	if err == nil || now.Sub(o.seen) >= lookMost {
		o.blind(err)
	}
	early := now.Sub(o.begun) < lookMost
	if o.done.Load() || early && (!there || err != nil || o.stands.open()) {
		return
	}
	o.done.Store(true)
	o.looked()
}

// once looks, opens what was asked for, and tells what is left.
func (o *outlook) once(ctx context.Context, now time.Time) error {
	o.keep()
	n := o.node()
	var drops uint64
	if o.guarded() {
		var err error
		if drops, err = o.kernel.Counted(ctx, nat.GuardChain); err != nil {
			return err
		}
	}
	f, err := o.eyes.Facts(ctx, hostroom.Watched(n), drops, now)
	if err != nil {
		return err
	}
	opened, operr := o.open(ctx, n, f)
	if opened {
		o.eyes.Again()
		if f, err = o.eyes.Facts(ctx, hostroom.Watched(n), drops, now); err != nil {
			return errors.Join(operr, err)
		}
	}
	o.tell(o.stands.those(hostroom.Findings(n, f), now))
	return operr
}

// open puts missing openings into others' chains and takes away those that nobody
// asks for any more. It says whether it did something.
func (o *outlook) open(ctx context.Context, n hostroom.Node, f hostroom.Facts) (did bool, err error) {
	if o.lull.broken() {
		return false, nil // what was seen may be half of what they write
	}
	missing, stale := hostroom.Compare(hostroom.Openings(n, f.Filters), f.Filters)
	var errs []error
	for _, m := range missing {
		errs = append(errs, o.kernel.Insert(m.Family, m.Table, m.Rule()))
		o.log.Info("firewall opened", note.Op, m.String())
	}
	for _, s := range stale {
		errs = append(errs, o.kernel.Withdraw(s.Family, s.Table, s.Chain, s.Handle))
		o.log.Info("firewall opening withdrawn", note.Op, s.String())
	}
	did = len(missing)+len(stale) > 0
	if hostroom.AsksFirewalld(n, f) {
		opened, err := firewalld.Open(ctx, openedBy(n))
		for _, line := range opened {
			o.log.Info("firewall opened", note.Op, line)
		}
		did = did || len(opened) > 0
		errs = append(errs, err)
	}
	return did, errors.Join(errs...)
}

// openedBy is what firewalld is asked for.
func openedBy(n hostroom.Node) firewalld.Want {
	var w firewalld.Want
	if n.Cluster.Backend == intent.VXLAN || n.Mesh.Clear {
		w.Ports = append(w.Ports, n.Cluster.VXLANPort)
	}
	for _, s := range n.Mesh.Slots {
		w.Ports = append(w.Ports, s.Port)
	}
	for _, u := range n.Underlay {
		w.Uplinks = append(w.Uplinks, u.Device)
	}
	return w
}

func (o *outlook) tell(fs []hostroom.Finding) {
	o.mu.Lock()
	was := o.last
	o.last = fs
	o.mu.Unlock()
	if slices.Equal(was, fs) {
		return
	}
	for _, f := range fs {
		if f.Severity > hostroom.Note && !slices.Contains(was, f) {
			o.log.Warn("host fault found", note.Err, f.Subject+": "+f.Cause, note.Do, f.Remedy)
		}
	}
	o.found(fs)
}

// loose are the uplinks' settings with --manage-rp-filter. What was set once stays
// wanted: it was strict before.
func (a *agent) loose(us []intent.Underlay) []datapath.Object {
	if !a.cfg.ManageRPFilter {
		return nil
	}
	var out []datapath.Object
	for _, u := range us {
		path := filepath.Join("net/ipv4/conf", u.Device, "rp_filter")
		o := datapath.Object(datapath.Sysctl{Path: path, Value: "2"})
		if (a.settings.strict(u.Device) || a.settings.recorded(path)) && !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	return out
}

// allLinks are the devices of the host as last seen.
func (h *host) allLinks() []datapath.HostLink {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.links
}
