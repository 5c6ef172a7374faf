package server

import (
	"context"
	"net"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/admin"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/push"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/etcd"
)

// assemble makes all rooms and lets them meet. None runs yet.
func assemble(ctx context.Context, place *site, etcd *etcd.Store, tcp net.Listener) (*rooms, error) {
	c, address := place.Config, place.address
	if err := noOlder(ctx, etcd, place.own.Name, schema.Store.Version()); err != nil {
		return nil, err
	}
	found, err := found(ctx, etcd, c)
	if err != nil {
		return nil, err
	}
	s := store.Fenced(etcd, found.fence) // what is decided here is written in this epoch, or never
	if err := c.sow(ctx, s); err != nil {
		return nil, err
	}
	c.warnAbsent(interfaceAddrs())
	book := journal.New(journal.Config{Store: etcd, Server: place.own.Name, Log: c.Log})
	var r *rooms // known when somebody calls
	auth, err := identity.Open(ctx, s, identity.Config{DataDir: c.DataDir, Server: "https://" + address, Names: place.names, Believes: place.believes, Log: c.Log, Note: book.Note, Leave: func(ctx context.Context, node string) error { return r.operators.Leave(ctx, node) }})
	if err != nil {
		return nil, err
	}
	if err := place.own.Save(c.DataDir); err != nil {
		return nil, err
	}
	r = &rooms{Config: c, site: place, store: etcd, journal: book, auth: auth, mirror: store.NewCache(s, store.Intent), seen: store.NewCache(s, kind.ObservedNodes), rerooted: make(chan struct{}, 1)}
	r.mirror.HaltAt(found.fence)
	r.backups = place.backups(etcd)
	r.backups.Note = book.Note
	r.room = r.meet()
	r.backups.Peers = r.room
	local := lease.New(lease.Config{Store: s, Fence: r.room.Fence, Log: c.Log, Note: book.Note, Servers: r.hosts})
	leases := members.Allocator{Local: local, Room: r.room, Held: r.heldLease}
	// What is learned after a restore is compared and swapped: no leader is needed.
	r.learner = lease.New(lease.Config{Store: s, Log: c.Log, Note: book.Note, Servers: r.hosts})
	settling, err := r.learner.Settling(ctx)
	if err != nil {
		return nil, err
	}
	r.leases, r.epoch = local, found.epoch
	r.room.Lead("look after leases", func(ctx context.Context) error { return r.steward().Run(ctx) })
	r.room.Lead("change the carrier", func(ctx context.Context) error { return r.carry(ctx, s) })
	r.room.Lead("back up on schedule", r.backups.Run)
	r.hub = push.New(push.Config{
		Server: place.own.Name, Learner: r.learner, Settling: settling,
		Epoch: found.epoch, Mirror: r.mirror, Seen: r.seen, Store: s, Leases: leases, Identify: identity.NodeFromContext, Trust: auth, Log: c.Log, Note: book.Note,
	})
	auth.OnRoots(r.hub.Retrust)
	auth.OnRoots(r.reroot)
	auth.OnRevoke(func(node string) { r.hub.Cut(node, "the node's identity was revoked or replaced") })
	r.operators = admin.New(admin.Config{
		Store: s, Hub: r.hub, Leases: leases, Tokens: tokens{auth}, Revocation: auth.Revocation, Expiry: auth.Expiry,
		Renaming: []func(context.Context, string, string) (store.Txn, error){auth.Renaming, local.Renaming}, Identities: auth.Problems, Awaited: auth.Awaited, Ephemeral: auth.Ephemeral, FirstToEnd: auth.FirstToEnd,
		Servers: r.serverStatus, ServerProblems: r.serverProblems, Etcd: r.etcd, Silence: r.silence, Remembered: r.remembered, CAEnds: auth.Ends, Fabric: found.name, Log: c.Log,
		Ask: r.hub.Ask, AskAt: r.askAt, Name: place.own.Name, Settings: note.Settings(c), Tail: c.tail(),
		Journal: r.journal, Actor: actor, Ordinal: found.ordinal, Backups: r.backups.Report,
	})
	r.room.Lead("expire ephemeral nodes", r.operators.ExpireEphemeral)
	r.room.Lead("prune the journal", r.journal.Keep)
	r.room.Lead("prune former versions", r.operators.Forget)
	r.room.Lead("roll back what is not confirmed", r.operators.Expire)
	r.room.Lead("end pauses", r.operators.EndPauses)
	r.services = newServices(auth, trail(auth, r.journal, r.hub), r.hub, r.operators, quick{r.room})
	r.lane = &lane{hub: r.hub, hold: auth.Hold}
	r.backups.Register(r.services.grpc, auth.OpensCA, actor)
	weftv1.RegisterMembersServer(r.services.grpc, &members.Service{Room: r.room, Local: local, Secrets: auth, Fabric: found.name, Agents: members.Agents{Ask: r.hub.Ask, NotHere: push.ErrNotHere}})
	r.port = newPort(tcp, auth.TLS(), c.Log)
	r.port.offerLines()
	if r.metrics, err = open(ctx, "--metrics-listen", c.Metrics, metrics(r.sources())); err != nil {
		return nil, err
	}
	if r.debug, err = open(ctx, "--debug-listen", c.Debug, profiles()); err != nil {
		r.close()
		return nil, err
	}
	c.Log.Info("fabric opened", note.Fabric, found.name, note.Epoch, found.ordinal, note.Addr, address)
	return r, nil
}
