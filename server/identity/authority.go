package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/store"
	"golang.org/x/sync/errgroup"
)

// Files below the data folder, all 0600.
const (
	serverKeyFile  = "server.key"
	adminFile      = "admin.yaml"
	agentTokenFile = "agent-token"
)

// Lives of certificates. The CA's is long, because nothing renews it yet.
const (
	caLife      = 10 * 365 * 24 * time.Hour
	userLife    = 365 * 24 * time.Hour
	serverLife  = 90 * 24 * time.Hour
	renewBefore = 30 * 24 * time.Hour // an operator's or a server's certificate
	maxBackdate = time.Hour           // for clocks that are behind
)

// Config is what an Authority works with.
type Config struct {
	DataDir string
	// Server is the URL that the first operator's credentials name.
	Server string
	// Names and addresses that clients dial this server by. localhost, 127.0.0.1,
	// ::1 and the host's name are always in its certificate.
	Names []string

	// Believes are the roots that this server's etcd read when it started, by hash;
	// none with an etcd elsewhere.
	Believes []string

	NodeLife time.Duration // of a node's certificate; default 24 h
	Grace    time.Duration // in which an ended certificate is renewed; default 30 d
	Log      *slog.Logger
	// Now is this server's clock, by which nodes' certificates are made and judged;
	// nil: time.Now.
	Now func() time.Time
	// Leave deletes an ephemeral node that says goodbye.
	Leave func(ctx context.Context, node string) error
	// Note is told who joins and who is refused; it must not block. Nil: nobody is.
	Note func(journal.Event)
}

func (c Config) withDefaults() Config {
	if c.Note == nil {
		c.Note = func(journal.Event) {}
	}
	if c.NodeLife == 0 {
		c.NodeLife = 24 * time.Hour
	}
	if c.Grace == 0 {
		c.Grace = 30 * 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Authority is a fabric's CA and its book of who is who. It is safe for
// concurrent use.
type Authority struct {
	weftv1.UnimplementedJoinServer
	config   Config
	store    store.Store
	counting atomic.Pointer[roots]
	book     *store.Cache // of everything below store.Identity
	server   serverCert
	live     live
	proofs   proofs
	acks     acks
	kept     chan struct{} // room for one: the files may be behind the roots
}

// Open opens the fabric's CA, or makes one in an empty store, and writes the
// files that are not there: server.key, admin.yaml, agent-token, server-token.
func Open(ctx context.Context, s store.Store, c Config) (*Authority, error) {
	c = c.withDefaults()
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("identity: %w; the server must be able to write to its data folder (--data-dir)", err)
	}
	keyPath := filepath.Join(c.DataDir, serverKeyFile)
	if _, err := openCA(ctx, s, keyPath); err != nil {
		return nil, err
	}
	counting, err := readRoots(ctx, s, keyPath)
	if err != nil {
		return nil, err
	}
	a := &Authority{config: c, store: s, book: store.NewCache(s, store.Identity), kept: make(chan struct{}, 1)}
	a.acks.wake = make(chan struct{}, 1)
	a.counting.Store(counting)
	if err := a.server.setNames(c.Names); err != nil {
		return nil, err
	}
	if _, err := a.serverCertificate(nil); err != nil {
		return nil, err
	}
	return a, a.keepFiles(ctx)
}

// keepFiles writes the files that are not there or are behind the roots.
func (a *Authority) keepFiles(ctx context.Context) error {
	if err := a.keepAdmin(ctx); err != nil {
		return err
	}
	if err := a.keepAgentToken(ctx); err != nil {
		return err
	}
	return a.keepServerToken(ctx)
}

// How often Run looks whether admin.yaml is to be renewed, and when it tries again
// what failed: a rotation waits for it.
const (
	adminCheck = 12 * time.Hour
	adminRetry = 10 * time.Second
)

// Run follows the book, until ctx ends or the store fails. Without it every call
// that needs a certificate is refused.
func (a *Authority) Run(ctx context.Context) error {
	_, _, cancel := a.book.Subscribe(a.follow)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.book.Run(ctx) })
	g.Go(func() error { return a.keepTrust(ctx) })
	g.Go(func() error {
		tick := time.NewTicker(adminCheck)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			case <-a.kept:
			}
			tick.Reset(adminCheck)
			if err := a.keepFiles(ctx); err != nil && ctx.Err() == nil {
				a.config.Log.Error("files of the data folder not renewed", note.Err, err, note.Retry, adminRetry)
				tick.Reset(adminRetry)
			}
		}
	})
	return g.Wait()
}

// WaitReady returns when Run has read the book.
func (a *Authority) WaitReady(ctx context.Context) error { return a.book.WaitRevision(ctx, 1) }

// Ends is when the CA's certificate ends.
func (a *Authority) Ends() time.Time { return a.roots().issuing.cert.NotAfter }

// CertificatePEM are the roots to trust.
func (a *Authority) CertificatePEM() []byte { return a.roots().pem() }

// note tells the journal.
func (a *Authority) note(e journal.Event) { a.config.Note(e) }

// backdate is how far before now a certificate of some life begins: never more
// than its life, so that whoever renews at two thirds does not do so at once.
func backdate(life time.Duration) time.Duration { return min(maxBackdate, life) }

// retries bounds compare-and-swap loops: a loser has met that many winners.
const retries = 64

// comeAround is how long a change that is written may take to reach the book.
const comeAround = time.Second

// swap runs decide until its transaction is written, and the book has it: who is
// given a certificate shows it the next moment. decide reads, and answers what to
// write from what it read; an empty transaction writes nothing.
func (a *Authority) swap(ctx context.Context, decide func() (store.Txn, error)) error {
	for range retries {
		txn, err := decide()
		if err != nil || len(txn.Then) == 0 {
			return err
		}
		revision, err := a.store.Commit(ctx, txn)
		if err == nil && a.book.Revision() > 0 {
			late, cancel := context.WithTimeout(ctx, comeAround)
			defer cancel()
			_ = a.book.WaitRevision(late, revision) // it is written all the same
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("identity: %w, %d times; try again", store.ErrConflict, retries)
}
