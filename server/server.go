package server

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/admin"
	"github.com/weft-net/weft/server/backup"
	"github.com/weft-net/weft/server/echo"
	"github.com/weft-net/weft/server/egress"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/push"
	"github.com/weft-net/weft/server/relay"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/etcd"
	"golang.org/x/sync/errgroup"
)

// Bounds on starting and stopping.
const (
	startWithin = 30 * time.Second // to read what is stored
	stopWithin  = 5 * time.Second  // for clients to go by themselves
)

// Run is the whole server. It returns nil when ctx ended.
func Run(ctx context.Context, c Config) (err error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return err
	}
	lock, err := disk.HoldAs(c.DataDir, "weft-server", schema.ServerFolder)
	if err != nil {
		return err
	}
	defer lock.Close()
	tcp, err := listen(ctx, "--listen", c.Listen) // before anything is written
	if err != nil {
		return err
	}
	defer tcp.Close()
	place, err := newSite(c, tcp)
	if err != nil {
		return err
	}
	if c.RestorePath != "" {
		return place.restoreFresh(ctx)
	}
	if c.ClusterReset {
		return place.reset(ctx)
	}
	s, err := place.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return live(ctx, place, s, tcp)
}

// rooms are all parts of a server, ready to run.
type rooms struct {
	Config
	store      *etcd.Store
	fenced     store.Store // what is decided here is written in this epoch, or never
	fabric     fabric
	site       *site
	room       *members.Room
	journal    *journal.Journal
	mirror     *store.Cache
	seen       *store.Cache // observations of nodes
	auth       *identity.Authority
	leases     *lease.Allocator
	allocator  members.Allocator // leases, where the leader is
	learner    *lease.Allocator
	hub        *push.Hub
	backups    *backup.Room
	operators  *admin.Server
	services   *services
	gate       *egress.Gate
	relay      *relay.Relay
	fronts     *fronts
	lane       *lane
	port       *port
	echo       *echo.Echo
	interfaces []netip.Addr // this machine's addresses, as the server started
	metrics    *endpoint
	debug      *endpoint
	rerooted   chan struct{} // room for one: other roots count
}

func (r *rooms) close() {
	r.metrics.close()
	r.debug.close()
	r.fronts.close()
	r.echo.Close()
}

func (r *rooms) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.failed(ctx) })
	g.Go(func() error { return keepTrying(ctx, r.Log, "intent", r.mirror.Run) })
	g.Go(func() error { return keepTrying(ctx, r.Log, "observations", r.seen.Run) })
	g.Go(func() error { return keepTrying(ctx, r.Log, "identities", r.auth.Run) })
	g.Go(func() error { return r.settle(ctx) })
	g.Go(func() error { return r.keepSealed(ctx) })
	g.Go(func() error { return r.room.Run(ctx) })
	g.Go(func() error { return r.keepPeer(ctx, r.site.own.Name) })
	g.Go(func() error { return r.metrics.run(ctx) })
	g.Go(func() error { return r.debug.run(ctx) })
	g.Go(func() error { return r.serve(ctx, g) })
	return g.Wait()
}

// serve opens the port once what agents are told is known.
func (r *rooms) serve(ctx context.Context, g *errgroup.Group) error {
	if err := r.ready(ctx); err != nil {
		return err
	}
	g.Go(func() error { return r.hub.Run(ctx) })
	g.Go(func() error { return r.gate.Run(ctx) })
	g.Go(func() error { return r.relay.Run(ctx) })
	g.Go(func() error { return r.echo.Run(ctx) })
	g.Go(func() error { return r.services.run(ctx, r.port.h2) })
	g.Go(func() error { return r.lane.run(ctx, r.port.lines) })
	g.Go(func() error { calm(ctx, r.hub.Came, giveBack); return nil })
	g.Go(func() error { return r.fronts.run(ctx, r.port.http) })
	g.Go(func() error { return (&endpoint{r.fronts.others, web(r.web, r.Log)}).run(ctx) })
	g.Go(func() error { return watchdog(ctx, r.Log, func() { r.hub.Revision() }) })
	stop := context.AfterFunc(ctx, func() { notify(r.Log, daemon.SdNotifyStopping) })
	defer stop()
	notify(r.Log, daemon.SdNotifyReady)
	r.Log.Info("server was ready", note.Addr, r.port.tcp.Addr().String(), note.Release, note.Version)
	return r.port.run(ctx)
}
