package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/backup"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/etcd"
	"google.golang.org/grpc"
)

// live serves one epoch after the other, until ctx ends or something cannot be
// mended. When a backup is restored, all rooms are thrown away with what they
// know, and made anew once the next epoch has begun; the port stays.
func live(ctx context.Context, c *site, s *etcd.Store, tcp net.Listener) error {
	d := &door{tcp: tcp}
	defer c.remember(s)()
	if c.Adopt {
		if err := adoptStore(ctx, c, s, d); err != nil {
			return err
		}
	}
	var shown *tls.Config // the certificate of the last epoch; nil before the first
	for {
		if err := settle(ctx, c, s, d, shown); err != nil || ctx.Err() != nil {
			return err
		}
		r, err := assemble(ctx, c, s, d.lend())
		if err == nil {
			if shown == nil {
				c.note("ServerStarted", "release "+note.Version)
			}
			err = r.run(ctx)
			shown = r.auth.TLS()
			r.close()
		}
		switch {
		case ctx.Err() != nil:
			c.note("ServerStopped", "it was told to")
			return nil
		case !errors.Is(err, store.ErrFenced):
			return err
		}
		c.Log.Warn("epoch ended", note.Why, "a backup is being restored")
	}
}

// settle returns when nothing is being restored. A restore whose file this server
// has it brings to its end; until then whoever comes is sent away.
func settle(ctx context.Context, c *site, s *etcd.Store, d *door, shown *tls.Config) error {
	m, marked, err := backup.Marked(ctx, s)
	if err == nil && !marked {
		return nil
	}
	if err != nil && !marked && shown == nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var away sync.WaitGroup
	defer away.Wait()
	defer cancel()
	var e excuse
	if err == nil {
		e.of(m)
	}
	away.Go(func() { sendAway(ctx, d.lend(), shown, &e, c.Log) })
	away.Go(func() { _ = watchdog(ctx, c.Log, func() {}) })
	room, said, began := c.backups(s), "", time.Now()
	for ; marked || err != nil; m, marked, err = backup.Marked(ctx, s) {
		if err == nil {
			if err = room.Finish(ctx, m); err == nil {
				c.tell(ctx, s, m.Event())
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err == nil || errors.Is(err, store.ErrConflict) { // or another server did it
			continue
		}
		if errors.Is(err, backup.ErrElsewhere) && time.Since(began) >= waitsAfter {
			e.waits(m, c.own.Name)
		}
		if said != err.Error() {
			said = err.Error()
			c.Log.Error("restore not finished", note.Err, err, note.Retry, retryAfter, note.Do, "nothing is served until it is")
			notify(c.Log, "STATUS=a backup is being restored: "+said)
		}
		if !pause(ctx, retryAfter) {
			return nil
		}
	}
	return nil
}

// settle ends the time after a restore in which leases are learned from agents.
func (r *rooms) settle(ctx context.Context) error {
	if err := r.learner.Settle(ctx, r.back); err != nil {
		return nil // ctx ended
	}
	r.hub.Settled()
	return nil
}

// back are the nodes that have come back in this epoch, to any server.
func (r *rooms) back(ctx context.Context) (map[string]bool, error) {
	entries, _, err := r.store.List(ctx, kind.ObservedNodes)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, e := range entries {
		if o, err := kind.DecodeObservation[kind.NodeObservation](e); err == nil && o.Epoch == r.fabric.epoch && !o.Gone {
			out[strings.TrimPrefix(e.Key, kind.ObservedNodes)] = true
		}
	}
	return out, nil
}

func (s *site) backups(opened *etcd.Store) *backup.Room {
	return backup.New(backup.Config{
		Store: opened, Folder: backup.Folder{Path: s.Backup.Dir}, Interval: s.Backup.Interval, Keep: s.Backup.Keep,
		Server: s.own.Name, Version: note.Version, Log: s.Log,
	})
}

// sendAway answers whoever comes that a backup is being restored, until ctx ends.
// Before it has a certificate it can only hang up.
func sendAway(ctx context.Context, l net.Listener, shown *tls.Config, e *excuse, log *slog.Logger) {
	if shown == nil {
		stop := context.AfterFunc(ctx, func() { _ = l.Close() })
		defer stop()
		for {
			conn, err := l.Accept()
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				pause(ctx, 100*time.Millisecond)
				continue
			}
			_ = conn.Close()
		}
	}
	p := newPort(l, shown, log)
	g := grpc.NewServer(grpc.Creds(shaken{}), grpc.ConnectionTimeout(handshakeWithin), grpc.MaxConcurrentStreams(128),
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return e.err() }))
	var serving sync.WaitGroup
	defer serving.Wait()
	serving.Go(func() { _ = g.Serve(p.h2) })
	serving.Go(func() { _ = (&endpoint{p.http, web(e.answer, log)}).run(ctx) })
	_ = p.run(ctx)
	g.Stop()
}

// door lends one listener to whoever serves on it now.
type door struct {
	tcp net.Listener

	mu   sync.Mutex
	lent *lent
}

type lent struct {
	net.Listener
	door *door
}

// lend opens the door for somebody new. Who had it before can no longer close it.
func (d *door) lend() net.Listener {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wake(time.Time{})
	d.lent = &lent{d.tcp, d}
	return d.lent
}

// Close ends Accept, and leaves the port open: those who come wait.
func (l *lent) Close() error {
	l.door.mu.Lock()
	defer l.door.mu.Unlock()
	if l.door.lent == l {
		l.door.lent = nil
		l.door.wake(time.Unix(1, 0))
	}
	return nil
}

// wake sets when Accept gives up.
func (d *door) wake(at time.Time) {
	if tcp, ok := d.tcp.(*net.TCPListener); ok {
		_ = tcp.SetDeadline(at)
	}
}
