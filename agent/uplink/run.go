package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/weft-net/weft/agent/proxy"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Pauses between tries. A server that says no is asked again more slowly.
const (
	backoffMin     = 200 * time.Millisecond
	backoffMax     = time.Second
	backoffRefused = 10 * time.Second
	backoffCrowded = 8 * time.Second // at most, when servers answer and have no time for us

	backoffRefusedMax = time.Minute
)

// Run keeps the line until ctx ends. It returns an error only if the node can
// never join: without a certificate, and refused.
func (u *Uplink) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return u.connect(ctx) })
	g.Go(func() error { return u.keepCertificate(ctx) })
	g.Go(func() error { return u.keepFile(ctx) })
	g.Go(func() error { return u.tuns.Run(ctx) })
	g.Go(func() error { return u.watchTunnels(ctx) })
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
		if errors.Is(err, errRenewed) {
			continue // no server was lost
		}
		u.lost(err)
		pause(ctx, u.delay(err))
	}
	return nil
}

// once joins or renews if need be, and holds a stream until it ends. A node that
// has no address for the fabric yet waits for one before it speaks.
func (u *Uplink) once(ctx context.Context) error {
	id := u.identity()
	enrols := id.cert == nil || id.former != "" || u.stale.Load() || u.now().After(id.cert.NotAfter)
	if enrols {
		if err := u.enrol(ctx, id); err != nil {
			return err
		}
	}
	if err := u.out.awaitReport(ctx); err != nil {
		return err
	}
	id = u.identity()
	cfg := id.tls(u.now, true)
	cfg.NextProtos = protocols
	server, err := u.reach(ctx, cfg, func(ctx context.Context, conn *tls.Conn, l link) error {
		return speak(conn, l.host(), func(open func(context.Context) (wire, error)) error { return newSession(u, l).run(ctx, open) })
	})
	if b := (backoffError{}); errors.As(err, &b) {
		u.order.hold(server, time.Now().Add(b.wait))
	}
	u.distrust.Store(errors.As(err, new(protocolError)))
	if !outdated(err, id) {
		return err
	}
	if u.identity().cert != id.cert {
		return errRenewed
	}
	u.stale.Store(true)
	if enrols {
		return err // the newest there is: more haste gives the same
	}
	return errOutdated{err}
}

// errOutdated is the end of a stream that another certificate may mend.
type errOutdated struct{ error }

func (e errOutdated) Unwrap() error { return e.error }

// outdated says whether a server may take another certificate than this one: it
// ended while the stream was open, of the two clocks one is wrong, or an ephemeral
// node was away for too long.
func outdated(err error, id identity) bool {
	switch status.Code(rootCause(err)) {
	case codes.Unauthenticated:
		return true
	case codes.PermissionDenied:
		return id.ephemeral
	}
	return false
}

// base is what a stream's differences rest on.
func (u *Uplink) base() *held {
	if u.distrust.Load() {
		return nil
	}
	return u.held.Load()
}

// lost notes that no server is in use. The first failure of an outage is a
// warning, and a refusal that only a person can end an error; the tries after it are
// neither.
func (u *Uplink) lost(err error) {
	refused := refusedError{}
	u.mu.Lock()
	first, known := u.line.err == nil, errors.As(u.line.err, new(refusedError))
	if first {
		u.line.lost = time.Now()
	}
	u.line.server, u.line.proxy, u.line.err = "", "", err
	since := u.line.lost
	u.mu.Unlock()
	switch {
	case errors.As(err, &refused) && !known:
		u.cfg.Log.Error("servers refused this node", note.Node, u.cfg.Node, note.Err, refused.what+": "+refused.cause, note.Do, refused.remedy)
	case first:
		u.cfg.Log.Warn("server lost", note.Err, err)
	default:
		u.cfg.Log.Debug("server lost", note.Err, err)
	}
	if passes(err) && time.Since(since) < silenceTold {
		return
	}
	u.out.setProblems("server", []intent.Problem{serverProblem(u.cfg.Node, err, since)})
}

// silenceTold is for how long no server answers before that is a problem. Servers
// that begin a new epoch, or start again one after the other, are back sooner, and
// nothing on any node is the matter meanwhile.
const silenceTold = 10 * time.Second

// passes tells whether no more is known than that nobody answered, which the next
// try may end. What a server said of this node is told at once.
func passes(err error) bool {
	later := backoffError{}
	told := errors.As(err, &later) && strings.Contains(later.reason, "; ")
	if p := (*proxy.Error)(nil); errors.As(err, &p) && p.Decided() {
		return false
	}
	return !told && !errors.As(err, new(refusedError)) && status.Code(rootCause(err)) != codes.PermissionDenied
}

func serverProblem(node string, err error, since time.Time) intent.Problem {
	p := intent.Problem{
		Subject: "server", SinceUnix: since.Unix(), Cause: "no server answers: " + err.Error(),
		Remedy: "nothing on this node: its data path runs on; look at the servers, and at what drops TCP 7443 between",
	}
	if via := (*proxy.Error)(nil); errors.As(err, &via) {
		p.Remedy = via.Remedy
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
	if said := status.Convert(rootCause(err)); said.Code() == codes.Aborted && strings.HasPrefix(said.Message(), "another stream of node ") {
		p.Cause = "another agent took this node's stream: " + said.Message()
		p.Remedy = "weft status tells which machines speak as node " + node + "; on the one that is a copy: weft-agent cleanup, then join it under a name of its own (--node-name)"
		return p
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

// delay is how long to wait after a try. One that was refused waits longer each
// time: nothing but a person's hand changes the answer.
func (u *Uplink) delay(err error) time.Duration {
	d := backoffMin + rand.N(backoffMax-backoffMin)
	was := u.refusals
	u.refusals = 0
	switch code := status.Code(rootCause(err)); {
	case errors.As(err, new(crowdedError)):
		d = backoffMin + rand.N(min(backoffMax/2<<min(u.crowded.Load(), 8), backoffCrowded))
	case errors.Is(err, errMoved), errors.As(err, new(errOutdated)):
		d = backoffMin
	case errors.As(err, new(refusedError)), code == codes.PermissionDenied, code == codes.Unauthenticated:
		longest := min(backoffRefused<<min(was, 8), backoffRefusedMax)
		d = longest/2 + rand.N(longest/2)
		u.refusals = was + 1
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
		if id.cert == nil || u.now().After(id.cert.NotAfter) { // connect joins, or renews before all else
			select {
			case <-ctx.Done():
			case <-u.renewed:
			}
			continue
		}
		if !sleepUntil(ctx, time.Now().Add(u.renewAt(id).Sub(u.now())), u.renewed) {
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
