package agent

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/keyring"
	"github.com/weft-net/weft/agent/local"
	"github.com/weft-net/weft/agent/nat"
	"github.com/weft-net/weft/agent/overlay"
	"github.com/weft-net/weft/agent/pod"
	"github.com/weft-net/weft/agent/reconcile"
	"github.com/weft-net/weft/agent/uplink"
	"github.com/weft-net/weft/agent/userspace"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"golang.org/x/sync/errgroup"
)

// patience is how long systemd waits for a fabric that no server describes: what
// starts after the agent must not wait for ever.
const patience = 10 * time.Second

// agent is all rooms of one node.
type agent struct {
	cfg      Config
	log      *slog.Logger
	release  string // of the kernel
	dir      *datadir.Dir
	ring     *keyring.Ring
	starter  *userspace.Starter
	kernel   *kernel.Kernel
	settings *settings
	uplink   *uplink.Uplink
	dials    dials
	host     *host
	outlook  *outlook
	pods     *pod.Keeper
	breaks   *breaks
	pairs    *pairs
	tailnet  *tailnet
	loop     *reconcile.Loop
	overlay  overlay.Cache // the loop's goroutine has it, and the next
	nat      nat.Cache

	dirty     chan struct{} // room for one: something to show
	readyOnce sync.Once
	stands    atomic.Pointer[standing] // what was planned of pairs
	joins     joins

	mu    sync.Mutex
	found map[string][]intent.Problem // by the part of the root that found them
}

// Run keeps the node until ctx ends. It leaves everything in the kernel in place.
func Run(ctx context.Context, cfg Config) error {
	cfg, err := cfg.normalize()
	if err != nil {
		return err
	}
	a := &agent{cfg: cfg, log: cfg.Log, release: kernelRelease(), dirty: make(chan struct{}, 1), found: map[string][]intent.Problem{}}
	lock, err := alone(a.log)
	if err != nil {
		return err
	}
	defer lock.Close()
	if a.dir, err = datadir.Open(cfg.DataDir); err != nil {
		return err
	}
	defer a.dir.Close()
	defer a.closeKernel()
	if err := a.openKernel(); err != nil {
		return err
	}
	if err := a.open(); err != nil {
		return err
	}
	if err := a.dir.Mark(); err != nil {
		return err
	}
	return a.serve(ctx)
}

// open makes the rooms. Each may ask the others from its first goroutine on, so
// none runs before all are there.
func (a *agent) open() (err error) {
	boot, err := a.cfg.boot()
	if err != nil {
		return err
	}
	if a.settings, err = openSettings(a.dir, a.log); err != nil {
		return err
	}
	a.openDials()
	if err := a.openUplink(boot); err != nil {
		return err
	}
	if err := a.openTailnet(); err != nil {
		return err
	}
	a.host = a.newHost()
	a.outlook = a.newOutlook()
	a.loop = reconcile.New(reconcile.Config{Kernel: careful{a.kernel, a.settings, a.screen}, Plan: a.plan, Log: a.log, OnTurn: a.turned})
	if a.breaks, err = openBreaks(a.dir, a.log, a.loop, a.touch); err != nil {
		return err
	}
	n, _ := a.uplink.Intent()
	a.breaks.asked(n.Pause)
	namespaces, err := pod.HostNamespaces()
	if err != nil {
		return err
	}
	a.pods, err = pod.Open(pod.Config{
		Dir: a.dir.Path(podsName), Boot: boot, Node: a.podNode, Kernel: a.kernel, Loop: a.loop,
		Namespaces: namespaces, Log: a.log, Degraded: a.degraded, Reserved: a.reserved, OnChange: a.touch, Elsewhere: a.cfg.SubnetFile,
	})
	return err
}

// serve runs all rooms until one fails or ctx ends.
func (a *agent) serve(ctx context.Context) error {
	if err := installPlugin(findBinDir(a.cfg.CNIBinDir, binDirs)); err != nil {
		return err
	}
	if _, err := a.host.look(ctx, time.Now()); err != nil {
		return err
	}
	agentSocket, cniSocket, err := a.listen()
	if err != nil {
		return err
	}
	a.report()
	a.log.Info("agent started", note.Node, a.cfg.NodeName, note.Release, a.cfg.Version)
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{
		func(ctx context.Context) error { return a.kernel.Watch(ctx, a.kernelChanged) },
		a.host.run, a.outlook.run, a.dials.file.Run, a.uplink.Run, a.pairs.run, a.tailnet.run, a.loop.Run, a.pods.Run,
		func(ctx context.Context) error { return a.answers().Serve(ctx, agentSocket) },
		func(ctx context.Context) error { return local.CNI{Handler: a.pods, Log: a.log}.Serve(ctx, cniSocket) },
		a.show, a.serveMetrics, a.watchdog, a.impatient,
	} {
		g.Go(func() error { return run(ctx) })
	}
	return g.Wait()
}
