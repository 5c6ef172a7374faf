package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/admin"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/push"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/etcd"
)

// assemble makes all rooms and lets them meet. None runs yet.
func assemble(ctx context.Context, c Config, etcd *etcd.Store, tcp net.Listener) (*rooms, error) {
	found, err := found(ctx, etcd, c)
	if err != nil {
		return nil, err
	}
	s := store.Fenced(etcd, found.fence) // what is decided here is written in this epoch, or never
	if err := sow(ctx, s, c.Seed, c.NodeIPs); err != nil {
		return nil, err
	}
	listening, err := netip.ParseAddrPort(tcp.Addr().String())
	if err != nil {
		return nil, fmt.Errorf("server: --listen: %w", err)
	}
	c.warnAbsent(interfaceAddrs())
	names := c.names(listening.Addr())
	address := net.JoinHostPort(names[0], fmt.Sprint(listening.Port()))
	book := journal.New(journal.Config{Store: etcd, Server: serverName(), Log: c.Log})
	auth, err := identity.Open(ctx, s, identity.Config{DataDir: c.DataDir, Server: "https://" + address, Names: names, Log: c.Log, Note: book.Note})
	if err != nil {
		return nil, err
	}
	r := &rooms{Config: c, store: etcd, journal: book, auth: auth, mirror: store.NewCache(s, store.Intent)}
	r.mirror.HaltAt(found.fence)
	r.backups = c.backups(etcd)
	leases := lease.New(lease.Config{Store: s, Log: c.Log, Note: book.Note, Servers: c.hosts})
	r.leases, r.epoch = leases, found.epoch
	r.hub = push.New(push.Config{
		Epoch: found.epoch, Mirror: r.mirror, Store: s, Leases: leases, Identify: identity.NodeFromContext, Log: c.Log, Note: book.Note,
	})
	auth.OnRevoke(func(node string) { r.hub.Cut(node, "the node's identity was revoked or replaced") })
	r.operators = admin.New(admin.Config{
		Store: s, Hub: r.hub, Leases: leases, Tokens: tokens{auth}, Revoke: auth.Revoke,
		Servers: self(address), Etcd: r.etcd, CAEnds: auth.Ends, Fabric: found.name, Log: c.Log,
		Journal: r.journal, Actor: actor, Ordinal: found.ordinal, Backups: r.backups.Report,
	})
	r.services = newServices(auth, trail(auth, r.journal, r.hub), r.hub, r.operators)
	r.backups.Register(r.services.grpc, auth.OpensCA, actor)
	r.port = newPort(tcp, auth.TLS(), c.Log)
	if r.metrics, err = open(ctx, "--metrics-listen", c.Metrics, metrics(r.hub)); err != nil {
		return nil, err
	}
	if r.debug, err = open(ctx, "--debug-listen", c.Debug, profiles()); err != nil {
		r.close()
		return nil, err
	}
	c.Log.Info("fabric opened", note.Fabric, found.name, note.Epoch, found.ordinal, note.Addr, address)
	return r, nil
}
