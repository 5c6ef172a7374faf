package uplink

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Pauses between tries. A server that says no is asked again more slowly.
const (
	backoffMin     = 200 * time.Millisecond
	backoffMax     = time.Second
	backoffRefused = 10 * time.Second
)

// Run keeps the line until ctx ends. It returns an error only if the node can
// never join: without a certificate, and refused.
func (u *Uplink) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return u.connect(ctx) })
	g.Go(func() error { return u.keepCertificate(ctx) })
	g.Go(func() error { return u.keepFile(ctx) })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	u.leave(context.WithoutCancel(ctx))
	return nil
}

// connect holds one stream after the other.
func (u *Uplink) connect(ctx context.Context) error {
	for ctx.Err() == nil {
		err := u.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if refused := (refusedError{}); errors.As(err, &refused) && (u.identity().cert == nil || u.identity().former != "") {
			return err
		}
		u.lost(err)
		pause(ctx, u.delay(err))
	}
	return nil
}

// once joins or renews if need be, and holds a stream until it ends. A node that
// has no address for the fabric yet waits for one before it speaks.
func (u *Uplink) once(ctx context.Context) error {
	if id := u.identity(); id.cert == nil || id.former != "" || time.Now().After(id.cert.NotAfter) {
		if err := u.enrol(ctx, id); err != nil {
			return err
		}
	}
	if err := u.out.awaitReport(ctx); err != nil {
		return err
	}
	server, err := u.reach(ctx, u.identity().tls(true), func(ctx context.Context, cc *grpc.ClientConn, l link) error {
		return newSession(u, l).run(ctx, cc)
	})
	if b := (backoffError{}); errors.As(err, &b) {
		u.order.hold(server, time.Now().Add(b.wait))
	}
	u.distrust.Store(errors.As(err, new(protocolError)))
	return err
}

// base is what a stream's differences rest on.
func (u *Uplink) base() *held {
	if u.distrust.Load() {
		return nil
	}
	return u.held.Load()
}

// lost notes that no server is in use. The first failure of an outage is a
// warning, the tries after it are not.
func (u *Uplink) lost(err error) {
	u.mu.Lock()
	first := u.line.err == nil
	if first {
		u.line.lost = time.Now()
	}
	u.line.server, u.line.err = "", err
	since := u.line.lost
	u.mu.Unlock()
	level := slog.LevelDebug
	if first {
		level = slog.LevelWarn
	}
	u.cfg.Log.Log(context.Background(), level, "server lost", note.Err, err)
	u.out.setProblems("server", []intent.Problem{serverProblem(u.cfg.Node, err, since)})
}

func serverProblem(node string, err error, since time.Time) intent.Problem {
	p := intent.Problem{
		Subject: "server", SinceUnix: since.Unix(), Cause: "no server answers: " + err.Error(),
		Remedy: "nothing on this node: its data path runs on; look at the servers, and at what drops TCP 7443 between",
	}
	if refused := (refusedError{}); errors.As(err, &refused) {
		p.Cause, p.Remedy = refused.what+" refused: "+refused.cause, refused.remedy
		return p
	}
	if later := (backoffError{}); errors.As(err, &later) {
		if cause, remedy, ok := strings.Cut(later.reason, "; "); ok {
			p.Cause, p.Remedy = cause, remedy
			return p
		}
	}
	// A server that knows the node and sends it away did answer.
	if root := rootCause(err); status.Code(root) == codes.PermissionDenied {
		said, remedy, told := strings.Cut(status.Convert(root).Message(), "; ")
		p.Cause = "this node was sent away from the fabric: " + said
		if told && strings.Contains(remedy, "--node-name") { // it was renamed
			p.Remedy = remedy
			return p
		}
		p.Remedy = "its data path stays as it is; to end it: weft-agent cleanup; to join again, start with a token from: weft token create --node " + node + " --replace"
	}
	return p
}

func (u *Uplink) delay(err error) time.Duration {
	d := backoffMin + rand.N(backoffMax-backoffMin)
	switch code := status.Code(rootCause(err)); {
	case errors.Is(err, errMoved):
		d = backoffMin
	case errors.As(err, new(refusedError)), code == codes.PermissionDenied, code == codes.Unauthenticated:
		d = backoffRefused/2 + rand.N(backoffRefused/2)
	}
	return max(d, u.order.wait(time.Now()))
}

// rootCause finds the gRPC status in a wrapped error.
func rootCause(err error) error {
	var s interface {
		error
		GRPCStatus() *status.Status
	}
	if errors.As(err, &s) {
		return s
	}
	return nil
}

// keepCertificate renews at two thirds of the certificate's life.
func (u *Uplink) keepCertificate(ctx context.Context) error {
	for ctx.Err() == nil {
		id := u.identity()
		if id.cert == nil { // connect joins
			select {
			case <-ctx.Done():
			case <-u.renewed:
			}
			continue
		}
		if !sleepUntil(ctx, u.renewAt(id), u.renewed) {
			continue
		}
		if err := u.enrol(ctx, id); err != nil && ctx.Err() == nil {
			u.cfg.Log.Warn("certificate not renewed", note.Err, err, note.Until, id.cert.NotAfter)
			u.out.setProblems("certificate", []intent.Problem{{
				Subject: u.dir.Path(certName),
				Cause:   "the certificate ends at " + id.cert.NotAfter.UTC().Format(time.RFC3339) + " and could not be renewed",
				Remedy:  "the agent tries again by itself: " + err.Error(),
			}})
			pause(ctx, backoffRefused+rand.N(backoffRefused))
			continue
		}
		u.out.setProblems("certificate", nil)
	}
	return nil
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) { sleepUntil(ctx, time.Now().Add(d), nil) }

// sleepUntil tells whether the time has come; ctx or early can end it sooner.
func sleepUntil(ctx context.Context, at time.Time, early <-chan struct{}) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-early:
	}
	return false
}
