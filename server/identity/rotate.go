package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A rotation has three steps, each one transaction, so that a crash anywhere goes
// on where it was:
//
//	steady -> spreading   the new root stands beside the old, which signed it
//	spreading -> renewing  all nodes trust it: it signs, and servers show it
//	renewing -> steady     nothing of the old root is in use: it counts no more
//
// The second is taken by whichever server sees that all trust it; the third by an
// operator, or when the old root ends.

// Phase is how far a rotation is.
type Phase string

// Phases.
const (
	PhaseSteady    Phase = "steady"
	PhaseSpreading Phase = "spreading"
	PhaseRenewing  Phase = "renewing"
)

func (r *roots) phase() Phase {
	switch {
	case r.next != nil:
		return PhaseSpreading
	case len(r.counted()) > 0:
		return PhaseRenewing
	}
	return PhaseSteady
}

// trustPrefix holds, for each node, the newest root that it has said it trusts.
const trustPrefix = store.Identity + "trust/"

// Root is one CA, as status prints it.
type Root struct {
	Hash          string // as tokens pin it
	Created, Ends time.Time
}

func rootOf(c *x509.Certificate) Root { return Root{join.Hash(c), c.NotBefore, c.NotAfter} }

// Rotation is where a rotation stands.
type Rotation struct {
	Phase    Phase
	Issuing  Root
	Next     Root   // zero: none
	Old      []Root // that still count
	Since    time.Time
	Nodes    int      // known and not revoked
	Waiting  []string // nodes that do not trust the newest root yet
	Lagging  []string // nodes, "user NAME" and "server NAME", whose certificates are all of old roots
	etcds    []string // servers with an embedded etcd of several
	Restart  []string // servers whose etcd believes other roots than those that count
	Trusting int
	Renewed  int // nodes with a certificate of the root that signs
}

// Rotation answers where a rotation stands, as Run last read it.
func (a *Authority) Rotation() Rotation {
	entries, _ := a.book.Snapshot()
	return rotation(a.roots(), entries, time.Now())
}

// rotation computes it from what is below store.Identity. It is pure.
func rotation(r *roots, entries []store.Entry, now time.Time) Rotation {
	out := Rotation{Phase: r.phase(), Issuing: rootOf(r.issuing.cert), Since: r.since}
	newest := r.issuing.hash
	if r.next != nil {
		newest, out.Since, out.Next = r.next.hash, r.next.since, rootOf(r.next.cert)
	}
	for _, o := range r.counted() {
		out.Old = append(out.Old, rootOf(o.cert))
	}
	trust := map[string]string{}
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.Key, trustPrefix); ok {
			trust[name] = string(e.Value)
		}
	}
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Key, nodeKey("")):
			n, err := decode[Node](e)
			if err != nil || n.RevokedUnix != 0 || n.RenamedTo != "" {
				continue
			}
			out.Nodes++
			if trust[n.Name] == newest || out.Phase == PhaseSteady || n.Key.Root == newest {
				out.Trusting++
			} else {
				out.Waiting = append(out.Waiting, n.Name)
			}
			if n.Key.Root == r.issuing.hash || out.Phase == PhaseSteady {
				out.Renewed++
			} else if out.Phase == PhaseRenewing {
				out.Lagging = append(out.Lagging, n.Name)
			}
		case strings.HasPrefix(e.Key, serverKeyOf("")):
			s, err := decode[server](e)
			if err != nil || s.RevokedUnix != 0 {
				continue
			}
			if len(s.Believes) > 0 {
				out.etcds = append(out.etcds, s.Name)
			}
			if out.Phase == PhaseRenewing && s.Root != r.issuing.hash {
				out.Lagging = append(out.Lagging, "server "+s.Name)
			}
			if out.Phase == PhaseSteady && s.outdated(r) {
				out.Restart = append(out.Restart, s.Name)
			}
		case out.Phase == PhaseRenewing && strings.HasPrefix(e.Key, userKey("")):
			if u, err := decode[user](e); err == nil && u.lags(r.issuing.hash, now) {
				out.Lagging = append(out.Lagging, "user "+u.Name)
			}
		}
	}
	slices.Sort(out.Waiting)
	slices.Sort(out.Lagging)
	slices.Sort(out.Restart)
	return out
}

// lags says that a user has good certificates, and none of a root.
func (u user) lags(root string, now time.Time) bool {
	good := slices.DeleteFunc(slices.Clone(u.Keys), func(k Key) bool { return k.EndsUnix <= now.Unix() })
	return u.RevokedUnix == 0 && len(good) > 0 && !slices.ContainsFunc(good, func(k Key) bool { return k.Root == root })
}

// state reads the CAs and all of the book from the store itself, with the
// conditions under which what is decided on them holds.
func (a *Authority) state(ctx context.Context) (*roots, Rotation, []store.Cond, error) {
	entries, _, err := a.store.List(ctx, store.Identity)
	if err != nil {
		return nil, Rotation{}, nil, err
	}
	var held, next store.Entry
	for _, e := range entries {
		switch e.Key {
		case caKey:
			held = e
		case caNextKey:
			next = e
		}
	}
	if held.Key == "" {
		return nil, Rotation{}, nil, errors.New("identity: the store has no CA any more; restore it from a backup")
	}
	r, err := openRoots(held, next, filepath.Join(a.config.DataDir, serverKeyFile))
	if err != nil {
		return nil, Rotation{}, nil, err
	}
	conds := []store.Cond{{Key: caKey, Revision: held.Revision}, {Key: caNextKey, Revision: next.Revision}}
	return r, rotation(r, entries, time.Now()), conds, nil
}

// RotateCA begins a rotation; during one it changes nothing, unless force takes the
// next step without those who are not ready, whom it answers with.
func (a *Authority) RotateCA(ctx context.Context, force bool) (leftOut []string, err error) {
	began, took := false, false
	err = a.swap(ctx, func() (txn store.Txn, err error) {
		r, now, conds, err := a.state(ctx)
		if err != nil {
			return txn, err
		}
		began, took, leftOut = false, false, nil
		switch {
		case now.Phase == PhaseRenewing:
			return txn, status.Errorf(codes.FailedPrecondition, "the last rotation is not finished: certificates of the old root still count; finish it first: weft rotate ca --finish")
		case now.Phase == PhaseSteady && r.issuing.childless() && len(now.etcds) > 1 && !force:
			return txn, status.Errorf(codes.FailedPrecondition, childless, some(now.etcds))
		case now.Phase == PhaseSteady:
			began = true
			return a.begin(r, conds)
		case force:
			took, leftOut = true, now.Waiting
			return a.take(r, conds)
		}
		return txn, nil
	})
	if err != nil {
		return nil, a.unlessStatus(err)
	}
	if began {
		a.note(journal.Event{Object: "CA", Reason: "RotationBegan", Message: "nodes learn the new root beside the old one"})
	}
	if took {
		a.tookOver("by force, without " + cmpText(leftOut))
	}
	return leftOut, nil
}

func cmpText(names []string) string {
	if len(names) == 0 {
		return "nobody left out"
	}
	return strings.Join(names, ", ")
}

// childless is why the CA of an early release is not rotated among several etcds
// unless that is meant. Agents, operators and servers else follow all the same:
// join.Verify minds no path length.
const childless = "the CA is of an early release, which let it sign no other CA (path length 0), and etcd keeps to that: once the new root signs, %s must all be restarted at one time, " +
	"and nothing can be written until then; nodes and pods run on; to rotate it all the same: weft rotate ca --force"

// childless says that by the book nobody follows from this CA to another that it
// signed (RFC 5280, 4.2.1.9).
func (c ca) childless() bool { return c.cert.MaxPathLen == 0 && c.cert.MaxPathLenZero }

// begin makes the next CA, signed by the one that is.
func (a *Authority) begin(r *roots, conds []store.Cond) (store.Txn, error) {
	made, err := makeCA(time.Now())
	if err != nil {
		return store.Txn{}, err
	}
	cross, err := r.issuing.cross(made.cert)
	if err != nil {
		return store.Txn{}, err
	}
	seal, err := loadServerKey(filepath.Join(a.config.DataDir, serverKeyFile))
	if err != nil {
		return store.Txn{}, err
	}
	value, err := (&nextRoot{made, cross, time.Now()}).encode(seal)
	return store.Txn{If: conds, Then: []store.Write{{Key: caNextKey, Value: value}}}, err
}

// take lets the next CA sign. The key of the one before is not kept.
func (a *Authority) take(r *roots, conds []store.Cond) (store.Txn, error) {
	seal, err := loadServerKey(filepath.Join(a.config.DataDir, serverKeyFile))
	if err != nil {
		return store.Txn{}, err
	}
	after := &roots{
		issuing: r.next.ca, since: time.Now(),
		old: append([]oldRoot{{cert: r.issuing.cert, cross: r.next.cross}}, r.old...),
	}
	value, err := after.encode(seal)
	return store.Txn{If: conds, Then: []store.Write{{Key: caKey, Value: value}, {Key: caNextKey}}}, err
}

func (a *Authority) tookOver(how string) {
	a.config.Log.Info("next CA took over", note.Why, how)
	a.note(journal.Event{Object: "CA", Reason: "RotationTookOver", Message: "the new root signs, " + how + "; when all have renewed: weft rotate ca --finish"})
}

// advance takes the second step once every known node trusts the next root.
func (a *Authority) advance(ctx context.Context) error {
	if r := a.roots(); r.next == nil || len(a.Rotation().Waiting) > 0 {
		return nil
	}
	took := false
	err := a.swap(ctx, func() (txn store.Txn, err error) {
		r, now, conds, err := a.state(ctx)
		took = err == nil && now.Phase == PhaseSpreading && len(now.Waiting) == 0
		if !took {
			return txn, err
		}
		return a.take(r, conds)
	})
	if err == nil && took {
		a.tookOver("all nodes trust it")
	}
	return err
}

// FinishRotation drops the old roots: certificates that they signed count no more.
// force leaves out those who have no other, and answers with them. The way from an
// old root to the new one stays: a node that slept can come back by it.
func (a *Authority) FinishRotation(ctx context.Context, force bool) (leftOut []string, err error) {
	err = a.swap(ctx, func() (txn store.Txn, err error) {
		r, now, conds, err := a.state(ctx)
		switch {
		case err != nil:
			return txn, err
		case now.Phase == PhaseSpreading:
			return txn, status.Errorf(codes.FailedPrecondition, "the new root does not sign yet: %d of %d nodes trust it, not yet %s; to go on without them: weft rotate ca --force",
				now.Trusting, now.Nodes, some(now.Waiting))
		case now.Phase == PhaseSteady:
			return txn, status.Error(codes.FailedPrecondition, "there is no rotation to finish; begin one: weft rotate ca")
		case len(now.Lagging) > 0 && !force:
			return txn, status.Errorf(codes.FailedPrecondition, "certificates of the old root are in use by %s; nodes and servers renew by themselves when they are back, users with weft user renew NAME; to drop them: weft rotate ca --finish --force",
				some(now.Lagging))
		}
		leftOut = now.Lagging
		seal, err := loadServerKey(filepath.Join(a.config.DataDir, serverKeyFile))
		if err != nil {
			return txn, err
		}
		for i := range r.old {
			r.old[i].dropped = true
		}
		value, err := r.encode(seal)
		return store.Txn{If: conds, Then: []store.Write{{Key: caKey, Value: value}, {Key: trustPrefix, Prefix: true}}}, err
	})
	if err != nil {
		return nil, a.unlessStatus(err)
	}
	a.config.Log.Info("rotation of the CA finished")
	a.note(journal.Event{Object: "CA", Reason: "RotationFinished", Message: "the old root counts no more; left out: " + cmpText(leftOut)})
	return leftOut, nil
}

// some names the first of many.
func some(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
