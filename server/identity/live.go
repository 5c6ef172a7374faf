package identity

import (
	"context"
	"crypto/x509"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// live are the streams that are open, and who wants to know of revocations.
type live struct {
	mu      sync.Mutex
	streams map[*liveStream]struct{}
	hooks   []func(node string)
	rooted  []func() // other roots count
}

// liveStream is a stream that is cut when its certificate stops counting.
type liveStream struct {
	peer Peer
	cert *x509.Certificate
	cut  context.CancelCauseFunc
}

// record is the key of a peer's record.
func (p Peer) record() string {
	switch {
	case p.Role == RoleNode:
		return nodeKey(p.Name)
	case p.Role.people():
		return userKey(p.Name)
	}
	return ""
}

// Hold authorises a stream. The context that it answers with ends, with a gRPC
// status as its cause, when the certificate ends or is revoked; the stream must end
// then. release is called when it has.
func (a *Authority) Hold(ctx context.Context, method string) (held context.Context, release func(), err error) {
	if cert := presented(ctx); cert != nil {
		if err := a.readmit(ctx, cert); err != nil {
			return nil, nil, status.Error(codes.Unavailable, err.Error())
		}
	}
	p, cert, err := a.authorise(ctx, method)
	if err != nil {
		return nil, nil, err
	}
	if cert == nil {
		return ctx, func() {}, nil
	}
	held, cut := context.WithCancelCause(WithPeer(ctx, p))
	end := time.AfterFunc(cert.NotAfter.Sub(a.config.Now()), func() {
		cut(status.Errorf(codes.Unauthenticated, "the certificate of %s ended at %s; come back with the next", p, utc(cert.NotAfter.Unix())))
	})
	s := &liveStream{peer: p, cert: cert, cut: cut}
	a.live.add(s)
	a.proves(p, cert)
	release = func() {
		a.live.remove(s)
		end.Stop()
		cut(nil)
	}
	if _, err := a.Identify(cert); err != nil { // revoked between the first look and add
		release()
		return nil, nil, err
	}
	return held, release, nil
}

// Stream is the interceptor that holds streams.
func (a *Authority) Stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, release, err := a.Hold(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	defer release()
	if ctx == stream.Context() { // anybody's
		return handler(server, stream)
	}
	err = (&heldStream{stream, ctx}).handle(server, handler)
	if cause := context.Cause(ctx); cause != nil && stream.Context().Err() == nil {
		return cause
	}
	return err
}

// heldStream is a stream with the context of Hold.
type heldStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *heldStream) Context() context.Context { return s.ctx }

// handle runs the handler. One of people may wait for the client and not for the
// context, as reflection does: it is left behind when the stream is cut, and what it
// waits for ends with the stream. Agents' handlers see to it themselves, for each
// goroutine counts where there are thousands.
func (s *heldStream) handle(server any, handler grpc.StreamHandler) error {
	if p, err := FromContext(s.ctx); err == nil && p.Role == RoleNode {
		return handler(server, s)
	}
	done := make(chan error, 1)
	go func() { done <- handler(server, s) }()
	select {
	case err := <-done:
		return err
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (l *live) add(s *liveStream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams == nil {
		l.streams = map[*liveStream]struct{}{}
	}
	l.streams[s] = struct{}{}
}

func (l *live) remove(s *liveStream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.streams, s)
}

// OnRevoke calls fn with the name of each node that Run finds revoked, now or at
// its start. Streams are cut without it. fn runs in a goroutine of Run and must be
// quick.
func (a *Authority) OnRevoke(fn func(node string)) {
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	a.live.hooks = append(a.live.hooks, fn)
}

// follow looks at the live streams again whose names' records changed.
func (a *Authority) follow(b store.Batch) {
	changed := map[string]bool{}
	for _, e := range b.Events {
		if e.Key == caKey || e.Key == caNextKey {
			a.reroot()
		}
		if strings.HasPrefix(e.Key, nodeKey("")) || strings.HasPrefix(e.Key, userKey("")) {
			changed[e.Key] = true
		}
	}
	if len(changed) == 0 {
		return
	}
	hooks := a.recheck(changed)
	for _, e := range b.Events {
		name, ok := strings.CutPrefix(e.Key, nodeKey(""))
		if n, known := a.Node(name); !ok || known && n.RevokedUnix == 0 && n.RenamedTo == "" {
			continue
		}
		for _, hook := range hooks {
			hook(name)
		}
	}
}

// reroot takes the CAs as the book has them now.
func (a *Authority) reroot() {
	entry, _ := a.book.Get(caKey)
	next, _ := a.book.Get(caNextKey)
	r, err := openRoots(entry, next, filepath.Join(a.config.DataDir, serverKeyFile))
	if err != nil {
		a.config.Log.Error("CA not taken over", note.Err, err)
		return
	}
	a.counting.Store(r)
	wake(a.kept)
	wake(a.acks.wake)
	a.live.mu.Lock()
	hooks := slices.Clone(a.live.rooted)
	for s := range a.live.streams { // who came before we knew of the root
		a.proves(s.peer, s.cert)
	}
	a.live.mu.Unlock()
	for _, hook := range hooks {
		hook()
	}
}

// recheck cuts the streams of some names whose certificate counts no more.
func (a *Authority) recheck(changed map[string]bool) (hooks []func(string)) {
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	for s := range a.live.streams {
		if !changed[s.peer.record()] {
			continue
		}
		if _, err := a.Identify(s.cert); status.Code(err) == codes.PermissionDenied {
			s.cut(err)
		}
	}
	return slices.Clone(a.live.hooks)
}
