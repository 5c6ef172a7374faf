package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/admin"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/etcd"
	"google.golang.org/grpc/peer"
)

// meet makes the room where this server meets the others.
func (r *rooms) meet() *members.Room {
	s := r.site
	config := members.Config{
		Server:      members.Server{Name: s.own.Name, Address: s.address, Version: note.Version, Reads: schema.Store.Version()},
		Store:       r.store,
		Files:       r.store,
		Mode:        s.own.Mode,
		DialTLS:     r.auth.DialTLS(s.own.Name),
		Free:        func() (uint64, error) { return members.FreeBytes(r.DataDir) },
		FreeBackups: func() (uint64, error) { return members.FreeApart(r.DataDir, s.Backup.Dir) },
		Log:         r.Log,
		Note: func(e members.Event) {
			r.journal.Note(journal.Event{Object: "Server/" + e.Server, Reason: e.Reason, Message: e.Message})
		},
	}
	if s.own.Mode == members.Clustered {
		config.Roster, config.Server.Peer = r.store, s.peer().Advertise
	}
	room := members.New(config)
	room.OnChange(func(all []members.Status) { r.tellServers(s, all) })
	return room
}

// tellServers hands on where servers are: to agents, and to our own next start.
func (r *rooms) tellServers(s *site, all []members.Status) {
	var addresses, others, peers []string
	for _, m := range all {
		if m.Address == "" {
			continue
		}
		addresses = append(addresses, m.Address)
		if m.Name == s.own.Name {
			continue
		}
		others = append(others, m.Address)
		if peer, ok := strings.CutPrefix(m.Peer, "https://"); ok {
			peers = append(peers, peer)
		}
	}
	r.hub.SetServers(addresses)
	urls := make([]string, 0, len(addresses))
	for _, a := range addresses {
		urls = append(urls, "https://"+a)
	}
	if err := r.auth.SetServers(urls); err != nil {
		r.Log.Warn("servers not written into admin.yaml", note.Err, err)
	}
	if slices.Equal(others, s.own.Servers) && slices.Equal(peers, s.own.Peers) && !s.own.Reset {
		return
	}
	s.own.Servers, s.own.Peers, s.own.Reset = others, peers, false
	if err := s.own.Save(s.DataDir); err != nil {
		r.Log.Warn("other servers not remembered", note.Err, err)
	}
}

// heldLease is the lease of a node, if it has a prefix of each family of the
// cluster.
func (r *rooms) heldLease(node string) ([]netip.Prefix, bool) {
	var config kind.ClusterConfigSpec
	var lease kind.LeaseSpec
	c, there := r.mirror.Get(kind.Key(kind.ClusterConfig, "", kind.DefaultName))
	l, has := r.mirror.Get(kind.Key(kind.Lease, "", node))
	if !there || !has {
		return nil, false
	}
	_, err := kind.Decode(c.Value, &config)
	_, err2 := kind.Decode(l.Value, &lease)
	if err != nil || err2 != nil || len(lease.Prefixes) == 0 {
		return nil, false
	}
	for _, cidr := range config.ClusterCIDRs {
		if !slices.ContainsFunc(lease.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() == cidr.Addr().Is4() }) {
			return nil, false
		}
	}
	return lease.Prefixes, true
}

// asker names who calls, for the audit of another server.
func asker(auth *identity.Authority) func(context.Context) members.Asker {
	return func(ctx context.Context) members.Asker {
		p, serial := auth.Caller(ctx)
		a := members.Asker{User: p.Name, Role: string(p.Role), Serial: serial}
		if from, ok := peer.FromContext(ctx); ok && from.Addr != nil {
			a.From = from.Addr.String()
		}
		return a
	}
}

// askAt has another server ask a node for who calls this one.
func (r *rooms) askAt(ctx context.Context, server string, q admin.Question) ([]byte, error) {
	return r.room.AskAt(ctx, server, members.Question{Node: q.Node, Method: q.Method, Request: q.Request, Asker: actor(ctx)})
}

// contestAt asks another server of a node's stream, as this server itself.
func (r *rooms) contestAt(ctx context.Context, server, node, method string, request []byte) ([]byte, error) {
	return r.room.AskAt(ctx, server, members.Question{Node: node, Method: method, Request: request, Asker: "server " + r.site.own.Name})
}

// serverStatus answers for Status.
func (r *rooms) serverStatus(context.Context) ([]*weftv1.ServerStatus, error) {
	return members.Wire(r.room.Servers()), nil
}

// serverProblems is what is wrong with servers and their store.
func (r *rooms) serverProblems() []*weftv1.Problem {
	var out []*weftv1.Problem
	for _, p := range r.room.Problems() {
		m := &weftv1.Problem{Subject: p.Subject, Cause: p.Cause, Remedy: p.Remedy}
		if !p.Since.IsZero() {
			m.SinceUnix = p.Since.Unix()
		}
		out = append(out, m)
	}
	return out
}

// peerCheck is how often a server looks whether its certificate among servers is
// to be renewed, unless other roots count: then at once.
const peerCheck = time.Minute

// keepPeer renews that certificate until ctx ends; etcd reads the files again.
func (r *rooms) keepPeer(ctx context.Context, name string) error {
	tick := time.NewTicker(peerCheck)
	defer tick.Stop()
	for {
		if err := r.auth.KeepPeer(ctx, name); err != nil && ctx.Err() == nil {
			r.Log.Error("certificate among servers not renewed", note.Err, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-r.rerooted:
		}
	}
}

// reroot lets that happen at once.
func (r *rooms) reroot() {
	select {
	case r.rerooted <- struct{}{}:
	default:
	}
}

// reset makes this server the only one, from its own data, and ends. Others must
// be down: two that live apart would be two fabrics.
func (s *site) reset(ctx context.Context) error {
	switch {
	case len(s.Etcd.Endpoints) > 0:
		return errors.New("server: --cluster-reset is for the embedded etcd; an etcd elsewhere has its own ways (etcd --force-new-cluster)")
	case s.own.Mode != members.Clustered:
		return fmt.Errorf("server: %s is no member of a cluster, so that there is nothing to reset", s.DataDir)
	case s.own.Reset:
		return errors.New("server: the cluster was reset already: start this server without --cluster-reset")
	}
	if err := identity.RenewPeer(s.DataDir, s.own.Name, s.names); err != nil {
		return err
	}
	if err := s.othersDown(ctx); err != nil {
		return err
	}
	config := s.etcdConfig()
	config.Peer = s.peer()
	opened, aside, err := etcd.Reset(ctx, config)
	if err != nil {
		return err
	}
	_, err = opened.Commit(ctx, store.Txn{Then: []store.Write{{Key: store.Servers, Prefix: true}, {Key: store.Election, Prefix: true}, {Key: identity.ServerRecords, Prefix: true}}})
	if err = errors.Join(err, opened.Close()); err != nil {
		return fmt.Errorf("%w; the data as it was is in %s", err, aside)
	}
	others := s.own.Servers
	s.own.Reset, s.own.Joined, s.own.Servers, s.own.Peers = true, false, nil, nil
	if err := s.own.Save(s.DataDir); err != nil {
		return err
	}
	s.Log.Info("cluster was reset", note.Path, aside, note.Do, "start weft-server without --cluster-reset; on each other server ("+strings.Join(others, ", ")+") move "+filepath.Join("<data-dir>", "etcd")+" away, then start it with --server https://"+s.address+" --token-file FILE")
	return nil
}

func (s *site) othersDown(ctx context.Context) error {
	config, err := identity.PeerTLS(s.DataDir)
	if err != nil {
		return err
	}
	// One that waits for a quorum serves nobody, but its etcd answers.
	for _, address := range slices.Concat(s.own.Servers, s.own.Peers) {
		if members.Answers(ctx, address, config) {
			host, _, _ := net.SplitHostPort(address)
			return fmt.Errorf("server: --cluster-reset: server %s of this fabric answers: a reset would make two fabrics with the same addresses. If it has a quorum, take lost servers out with `weft server remove NAME`; else stop weft-server on %s first, then run this again; nothing was changed", address, host)
		}
	}
	return nil
}

// HasJoined says that a data folder belongs to a server that was taken in: it
// needs no token any more.
func HasJoined(dataDir string) bool {
	own, err := members.LoadOwn(dataDir)
	return err == nil && own.Joined
}
