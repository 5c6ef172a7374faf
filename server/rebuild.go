package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/adopt"
	"github.com/weft-net/weft/server/backup"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/etcd"
	"google.golang.org/grpc"
)

// sealedFile keeps the CA, sealed, beside the server.key that opens it: with both
// a store that was lost altogether can be made again.
const sealedFile = "ca.sealed"

// keepSealed writes that file whenever the CA in the store changes.
func (r *rooms) keepSealed(ctx context.Context) error {
	write := func() error {
		sealed, err := backup.Seal(ctx, r.store)
		if err != nil {
			return err
		}
		b, err := json.Marshal(sealed)
		if err != nil {
			return err
		}
		return putSealed(r.Config, b)
	}
	return keepTrying(ctx, r.Log, "CA", func(ctx context.Context) error {
		entries, revision, err := r.store.List(ctx, store.Identity+"ca")
		if err == nil && len(entries) > 0 {
			err = write()
		}
		if err != nil {
			return err
		}
		return r.store.Watch(ctx, store.Identity+"ca", revision, func(b store.Batch) error {
			if len(b.Events) == 0 {
				return nil
			}
			return write()
		})
	})
}

// sealed reads what was kept. It is nil when there is none.
func (s *site) sealed() (*backup.Sealed, error) {
	path := filepath.Join(s.DataDir, sealedFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	sealed, err := backup.ParseSealed(b)
	if err != nil {
		return nil, fmt.Errorf("server: %s: %w", path, err)
	}
	return &sealed, nil
}

// opens says whether this server's key opens a CA.
func (s *site) opens(record []byte) error { return identity.OpensCA(s.DataDir, record) }

// restoreFresh makes a new store of a backup, and ends: the embedded etcd's folder
// is moved aside first; an etcd elsewhere must be empty.
func (s *site) restoreFresh(ctx context.Context) (err error) {
	in, err := os.Open(s.RestorePath)
	if err != nil {
		return fmt.Errorf("server: --cluster-reset-restore-path: %w", err)
	}
	defer in.Close()
	folder := backup.Folder{Path: s.Backup.Dir}
	file, _, err := folder.Take(in, maxBackup)
	if err != nil {
		return fmt.Errorf("server: --cluster-reset-restore-path %s: %w; nothing was changed", s.RestorePath, err)
	}
	sealed, err := s.sealed()
	if err != nil {
		return err
	}
	if s.own.Mode == members.Clustered {
		if err := s.othersDown(ctx); err != nil {
			return err
		}
	}
	if err := folder.Opens(file.Name, sealed, s.opens); err != nil { // before anything is moved
		return fmt.Errorf("server: %w; nothing was changed", err)
	}
	opened, aside, err := s.fresh(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	room := s.backups(opened)
	m, err := room.Fresh(ctx, file.Name, s.opens, sealed)
	if err == nil {
		err = room.Finish(ctx, m)
	}
	if err == nil {
		s.tell(ctx, opened, m.Event())
		_, err = opened.Commit(ctx, store.Txn{Then: []store.Write{{Key: identity.ServerRecords, Prefix: true}}})
	}
	if err != nil {
		return fmt.Errorf("server: %w; what was there is in %s", err, aside)
	}
	s.own.Reset, s.own.Joined, s.own.Servers = s.own.Mode == members.Clustered, false, nil
	if err := s.own.Save(s.DataDir); err != nil {
		return err
	}
	do := "start weft-server without --cluster-reset"
	if s.own.Mode == members.Clustered {
		do += "; on each other server move <data-dir>/etcd away, then start it with --server https://" + s.address + " --token-file FILE"
	}
	s.Log.Info("store was made of a backup", note.Path, s.RestorePath, note.Epoch, m.Ordinal, note.Of, aside, note.Do, do)
	return nil
}

// maxBackup bounds the file of an offline restore, in bytes.
const maxBackup = 2 << 30

// fresh is a store that was never used, and where the old one is now.
func (s *site) fresh(ctx context.Context) (*etcd.Store, string, error) {
	config := s.etcdConfig()
	if len(config.Endpoints) > 0 {
		opened, err := etcd.Open(ctx, config)
		return opened, "the etcd elsewhere", err
	}
	if s.own.Mode == members.Clustered {
		if err := identity.RenewPeer(s.DataDir, s.own.Name, s.names); err != nil {
			return nil, "", err
		}
		config.Peer = s.peer()
	}
	return etcd.Fresh(ctx, config)
}

// adoptStore rebuilds a store that was lost from what agents carry. A store that
// holds a fabric is left as it is.
func adoptStore(ctx context.Context, c *site, s *etcd.Store, d *door) error {
	fabric, err := backup.ReadFabric(ctx, s)
	if err != nil {
		return err
	}
	if fabric.Epoch != "" {
		c.Log.Warn("nothing adopted", note.Flag, "--adopt", note.Why, "the store is there", note.Do, "remove the flag; if another store was meant, see --data-dir and --etcd-endpoints")
		return nil
	}
	sealed, err := c.sealed()
	if err != nil {
		return err
	}
	if sealed == nil {
		return fmt.Errorf("server: --adopt needs %s, the fabric's CA as this server last knew it, and it is not there: without it no agent can be believed. Copy it, and server.key, from another server of the fabric; or restore a backup (--cluster-reset --cluster-reset-restore-path FILE); or start a new fabric and join each node again",
			filepath.Join(c.DataDir, sealedFile))
	}
	for key, record := range sealed.Records {
		if !strings.HasSuffix(key, "/ca") {
			continue
		}
		if err := c.opens(record); err != nil {
			return err
		}
	}
	room := c.backups(s)
	m, err := room.BeginAdopt(ctx, *sealed)
	if err != nil {
		return err
	}
	words, err := listenTo(ctx, c, s, d)
	if err != nil {
		return err
	}
	plan, err := adopt.Make(words, adopt.Past{Epochs: sealed.Epochs, Losses: sealed.Losses, Began: m.Ordinal})
	if err != nil {
		return err
	}
	for _, difference := range plan.Differences {
		c.Log.Warn("agents differed", note.Why, difference)
	}
	objects, err := plan.Objects(room.Now())
	if err != nil {
		return err
	}
	if err := room.Rebuild(ctx, m, *sealed, objects); err != nil {
		return err
	}
	c.tell(ctx, s, m.Event())
	return nil
}

// listenTo hears all agents that come.
func listenTo(ctx context.Context, c *site, s *etcd.Store, d *door) ([]adopt.Word, error) {
	auth, err := identity.Open(ctx, s, identity.Config{DataDir: c.DataDir, Server: "https://" + c.address, Names: c.names, Log: c.Log})
	if err != nil {
		return nil, err
	}
	if err := auth.ReviveTokens(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = keepTrying(ctx, c.Log, "identities", auth.Run) })
	running.Go(func() { _ = watchdog(ctx, c.Log, func() {}) })
	if err := auth.WaitReady(ctx); err != nil {
		return nil, err
	}
	collector := adopt.NewCollector(identity.NodeFromContext, c.Log)
	g := grpc.NewServer(grpc.Creds(shaken{}), grpc.ConnectionTimeout(handshakeWithin), grpc.MaxRecvMsgSize(maxMessage),
		grpc.ChainStreamInterceptor(auth.Stream), grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return (&excuse{}).err() }))
	weftv1.RegisterNodeSyncServer(g, collector)
	p := newPort(d.lend(), auth.TLS(), c.Log)
	running.Go(func() { _ = g.Serve(p.h2) })
	running.Go(func() { _ = (&endpoint{p.http, web((&excuse{}).answer, c.Log)}).run(ctx) })
	running.Go(func() { _ = p.run(ctx) })
	defer g.Stop()
	c.Log.Info("agents are heard", note.Addr, c.address, note.Do, "nothing: the store is rebuilt once all have come that others know, or 30 s after the first")
	return collector.Gather(ctx)
}
