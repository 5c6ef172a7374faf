package server

import (
	"context"
	"net"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/admin"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/push"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/etcd"
)

// assemble makes all rooms and lets them meet. None runs yet.
func assemble(ctx context.Context, place *site, etcd *etcd.Store, tcp net.Listener) (*rooms, error) {
	r := &rooms{Config: place.Config, site: place, store: etcd, rerooted: make(chan struct{}, 1)}
	if err := r.openFabric(ctx); err != nil {
		return nil, err
	}
	if err := r.openIdentity(ctx); err != nil {
		return nil, err
	}
	if err := place.own.Save(r.DataDir); err != nil {
		return nil, err
	}
	r.mirror, r.seen = store.NewCache(r.fenced, store.Intent), store.NewCache(r.fenced, kind.ObservedNodes)
	r.mirror.HaltAt(r.fabric.fence)
	r.backups = place.backups(etcd)
	r.backups.Note = r.journal.Note
	r.room = r.meet()
	r.backups.Peers = r.room
	if err := r.tellAgents(ctx); err != nil {
		return nil, err
	}
	r.answerOperators()
	r.lead()
	if err := r.openPorts(ctx, tcp); err != nil {
		return nil, err
	}
	r.Log.Info("fabric opened", note.Fabric, r.fabric.name, note.Epoch, r.fabric.ordinal, note.Addr, place.address)
	return r, nil
}

// openFabric reads what the store is, or founds it, and what it was seeded with.
func (r *rooms) openFabric(ctx context.Context) (err error) {
	if err := noOlder(ctx, r.store, r.site.own.Name, schema.Store.Version()); err != nil {
		return err
	}
	if r.fabric, err = found(ctx, r.store, r.Config); err != nil {
		return err
	}
	r.fenced = store.Fenced(r.store, r.fabric.fence)
	if err := r.sow(ctx, r.fenced); err != nil {
		return err
	}
	r.warnAbsent(interfaceAddrs())
	return nil
}

func (r *rooms) openIdentity(ctx context.Context) (err error) {
	r.journal = r.site.journal
	r.auth, err = identity.Open(ctx, r.fenced, identity.Config{
		DataDir: r.DataDir, Server: "https://" + r.site.address, Names: r.site.names, Believes: r.site.believes,
		Log: r.Log, Note: r.journal.Note,
		Leave: func(ctx context.Context, node string) error { return r.operators.Leave(ctx, node) },
	})
	return err
}

// tellAgents makes what gives prefixes, and what holds agents' streams.
func (r *rooms) tellAgents(ctx context.Context) error {
	r.leases = lease.New(lease.Config{Store: r.fenced, Fence: r.room.Fence, Log: r.Log, Note: r.journal.Note, Servers: r.hosts})
	r.allocator = members.Allocator{Local: r.leases, Room: r.room, Held: r.heldLease}
	// What is learned after a restore is compared and swapped: no leader is needed.
	r.learner = lease.New(lease.Config{Store: r.fenced, Log: r.Log, Note: r.journal.Note, Servers: r.hosts})
	settling, err := r.learner.Settling(ctx)
	if err != nil {
		return err
	}
	r.hub = push.New(push.Config{
		Server: r.site.own.Name, Epoch: r.fabric.epoch, Mirror: r.mirror, Seen: r.seen, Store: r.fenced,
		Leases: r.allocator, Learner: r.learner, Settling: settling,
		Identify: identity.NodeFromContext, Trust: r.auth, Log: r.Log, Note: r.journal.Note, AskAt: r.contestAt, Echo: r.offerEcho,
	})
	r.auth.OnRoots(r.hub.Retrust)
	r.auth.OnRoots(r.reroot)
	r.auth.OnRevoke(func(node string) { r.hub.Cut(node, "the node's identity was revoked or replaced") })
	return nil
}

// answerOperators makes what people ask.
func (r *rooms) answerOperators() {
	r.operators = admin.New(admin.Config{
		Name: r.site.own.Name, Fabric: r.fabric.name, Ordinal: r.fabric.ordinal, Settings: note.Settings(r.Config), Tail: r.tail(), Log: r.Log,
		Store: r.fenced, Hub: r.hub, Leases: r.allocator, Journal: r.journal, Actor: actor,
		Ask: r.hub.Ask, AskAt: r.askAt, Silence: r.silence, Remembered: r.remembered,
		Tokens: tokens{r.auth}, Revocation: r.auth.Revocation, Expiry: r.auth.Expiry,
		Renaming:   []func(context.Context, string, string) (store.Txn, error){r.auth.Renaming, r.leases.Renaming},
		Identities: r.auth.Problems, Awaited: r.auth.Awaited, Ephemeral: r.auth.Ephemeral, FirstToEnd: r.auth.FirstToEnd, CAEnds: r.auth.Ends,
		Servers: r.serverStatus, ServerProblems: r.serverProblems, Etcd: r.etcd, Backups: r.backups.Report,
	})
}

// lead says what one server does for all.
func (r *rooms) lead() {
	for _, w := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"look after leases", func(ctx context.Context) error { return r.steward().Run(ctx) }},
		{"change the carrier", func(ctx context.Context) error { return r.carry(ctx, r.fenced) }},
		{"back up on schedule", r.backups.Run},
		{"expire ephemeral nodes", r.operators.ExpireEphemeral},
		{"prune the journal", r.journal.Keep},
		{"prune former versions", r.operators.Forget},
		{"roll back what is not confirmed", r.operators.Expire},
		{"end pauses", r.operators.EndPauses},
	} {
		r.room.Lead(w.name, w.run)
	}
}

// openPorts makes what is served, and listens for what only this machine asks.
func (r *rooms) openPorts(ctx context.Context, tcp net.Listener) (err error) {
	r.services = newServices(r.auth, trail(r.auth, r.journal, r.hub), r.hub, r.operators, quick{r.room, r.site.own.Name})
	r.lane = &lane{hub: r.hub, hold: r.auth.Hold}
	r.backups.Register(r.services.grpc, r.auth.OpensCA, actor)
	weftv1.RegisterMembersServer(r.services.grpc, &members.Service{
		Room: r.room, Local: r.leases, Secrets: r.auth, Fabric: r.fabric.name, Agents: members.Agents{Ask: r.hub.Handed, NotHere: push.ErrNotHere}, Asker: asker(r.auth),
	})
	r.openEgress()
	r.openRelay()
	r.port = newPort(tcp, r.auth.TLS(), r.Log)
	r.port.offerLines()
	r.openEcho(ctx, tcp)
	if r.metrics, err = open(ctx, "--metrics-listen", r.Metrics, metrics(r.sources())); err != nil {
		r.close()
		return err
	}
	if r.debug, err = open(ctx, "--debug-listen", r.Debug, profiles()); err != nil {
		r.close()
		return err
	}
	if err = r.openFronts(); err != nil {
		r.close()
	}
	return err
}
