package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/join"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc/codes"
)

// awaitPhase returns when the Authority has seen a phase.
func (f *fabric) awaitPhase(p Phase) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	for {
		next := f.book.Revision() + 1 // before the look, or a change between is waited for
		f.followed()
		now := f.Rotation()
		if now.Phase == p {
			return
		}
		if err := f.book.WaitRevision(ctx, next); err != nil {
			f.t.Fatalf("phase %s, want %s: waiting %v, lagging %v", now.Phase, p, now.Waiting, now.Lagging)
		}
	}
}

// trusts says it as a node's stream does.
func (f *fabric) trusts(names ...string) {
	for _, name := range names {
		f.Trusts(name, f.roots().hashes())
	}
}

// slept is a client that knows only the roots of before.
func slept(r *roots) (check func(chain [][]byte) error) {
	known := r.trusted()
	return func(chain [][]byte) error {
		var shown []*x509.Certificate
		for _, der := range chain {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				return err
			}
			shown = append(shown, c)
		}
		return join.Verify(shown, known, x509.ExtKeyUsageServerAuth, time.Now())
	}
}

func TestRotationOfTheCA(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	oldToken := f.agentToken()
	n1, n2 := f.mustJoin(newMachine(t, "n1"), oldToken), f.mustJoin(newMachine(t, "n2"), oldToken)
	before, oldAdmin := f.roots(), f.admin()

	if _, err := f.RotateCA(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	f.caughtUp()
	if got := f.Trust("n1", before.hashes()); len(got.GetRoots()) != 2 || got.GetRenew() {
		t.Errorf("n1 is told %d roots, renew %v", len(got.GetRoots()), got.GetRenew())
	}
	if got := f.Trust("n0", nil); got != nil {
		t.Error("a release that knows nothing of roots is told of them")
	}
	f.trusts("n1")
	f.caughtUpWith("n1")
	if r := f.Rotation(); r.Phase != PhaseSpreading || fmt.Sprint(r.Waiting) != "[n2]" || r.Trusting != 1 || r.Nodes != 2 {
		t.Errorf("%+v", r)
	}
	_, err := f.FinishRotation(t.Context(), false)
	wantCode(t, "finish too early", err, codes.FailedPrecondition, "1 of 2 nodes trust it, not yet n2")

	f.trusts("n2")
	f.awaitPhase(PhaseRenewing)
	if f.roots().issuing.hash == before.issuing.hash {
		t.Fatal("the old root signs still")
	}
	cert, err := f.serverCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := slept(before)(cert.Certificate); err != nil {
		t.Errorf("who slept does not follow: %v", err)
	}
	if _, name, err := f.sync(f.as(n1)); err != nil || name != "n1" {
		t.Errorf("a certificate of the old root: %q, %v", name, err)
	}
	f.mustJoin(newMachine(t, "n3"), oldToken)
	if err := calls["tokens"](t, f.dial(oldAdmin)); !strings.Contains(fmt.Sprint(err), "not implemented") {
		t.Errorf("admin's old credentials: %v", err)
	}
	_, err = f.FinishRotation(t.Context(), false)
	wantCode(t, "finish before renewals", err, codes.FailedPrecondition, "in use by n1, n2")
	_, err = f.RotateCA(t.Context(), false)
	wantCode(t, "a second rotation", err, codes.FailedPrecondition, "finish it first")
	for _, m := range []*machine{n1, n2} {
		if got := f.Trust(m.name, f.roots().hashes()); !got.GetRenew() {
			t.Errorf("%s is not asked to renew", m.name)
		}
		if err := f.renew(m); err != nil {
			t.Fatal(err)
		}
	}
	f.finishWhenAdminIsFresh()
	f.awaitPhase(PhaseSteady)
	if _, name, err := f.sync(f.as(n1)); err != nil || name != "n1" {
		t.Errorf("after it: %q, %v", name, err)
	}
	f.mustJoin(newMachine(t, "n4"), oldToken)
	again := mustOpen(t, f.store, f.dir)
	if cert, err = again.serverCertificate(nil); err != nil {
		t.Fatal(err)
	}
	if err := slept(before)(cert.Certificate); err != nil {
		t.Errorf("who slept through all of it does not follow: %v", err)
	}
}

func (f *fabric) caughtUpWith(node string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	for {
		next := f.book.Revision() + 1
		if _, ok := f.book.Get(trustPrefix + node); ok {
			return
		}
		if err := f.book.WaitRevision(ctx, next); err != nil {
			f.t.Fatalf("%s is not noted to trust: %v", node, err)
		}
	}
}

// finishWhenAdminIsFresh finishes once admin.yaml is written anew, which Run does too.
func (f *fabric) finishWhenAdminIsFresh() {
	f.t.Helper()
	if err := f.keepFiles(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	if out, err := f.FinishRotation(f.t.Context(), false); err != nil || len(out) > 0 {
		f.t.Fatalf("left out %v: %v", out, err)
	}
}

// A server that dies after any write of a rotation, or has it refused, goes on where
// it was.
func TestCrashAtEachStepOfARotation(t *testing.T) {
	for fail := range 12 {
		m := &faulty{Memory: storetest.New(), after: 1000}
		dir := t.TempDir()
		a := mustOpen(t, m, dir)
		first := a.roots().issuing.hash
		steps := []func() error{
			func() error { _, err := a.RotateCA(t.Context(), false); return err },
			func() error { _, err := a.RotateCA(t.Context(), true); return err },
			func() error { return a.keepFiles(t.Context()) },
			func() error { _, err := a.FinishRotation(t.Context(), true); return err },
		}
		m.after = fail
		for _, step := range steps {
			err := step()
			for try := 0; err != nil && try < 3; try++ { // it died: another start, and again
				m.after = 1000
				a = mustOpen(t, m, dir)
				if err = step(); err != nil && (strings.Contains(err.Error(), "not finished") || strings.Contains(err.Error(), "no rotation")) {
					err = nil // the step was written before the answer was lost
				}
			}
			if err != nil {
				t.Fatalf("fault at write %d: %v", fail, err)
			}
			if a, err = open(t, m, dir); err != nil { // it died in its start
				m.after = 1000
				a = mustOpen(t, m, dir)
			}
		}
		if r := a.roots(); r.phase() != PhaseSteady || r.issuing.hash == first || len(r.old) != 1 {
			t.Errorf("fault at write %d: phase %s, %d old roots", fail, r.phase(), len(r.old))
		}
	}
}

// faulty fails one write, half of them after they are done.
type faulty struct {
	*storetest.Memory
	mu    sync.Mutex
	after int
}

func (f *faulty) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	f.mu.Lock()
	n := f.after
	f.after--
	f.mu.Unlock()
	switch {
	case n == 0 && ctx.Err() == nil && len(txn.Then)%2 == 0:
		_, _ = f.Memory.Commit(ctx, txn)
		return 0, errors.New("the answer was lost")
	case n == 0:
		return 0, errors.New("the store is away")
	}
	return f.Memory.Commit(ctx, txn)
}

// A storm: nodes join, renew and are revoked while the CA is rotated.
func TestStormDuringARotation(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	token := f.agentToken()
	const nodes = 40
	var storm sync.WaitGroup
	errs := make(chan error, 4*nodes)
	for i := range nodes {
		storm.Go(func() {
			m := newMachine(t, fmt.Sprintf("n%02d", i))
			if err := f.join(m, token); err != nil {
				errs <- fmt.Errorf("join: %w", err)
				return
			}
			f.Trusts(m.name, f.roots().hashes())
			if i%4 == 0 {
				errs <- f.Authority.Revoke(t.Context(), m.name)
				return
			}
			errs <- f.renew(m)
		})
		if i == nodes/2 {
			storm.Go(func() {
				_, err := f.RotateCA(t.Context(), false)
				errs <- err
			})
		}
	}
	storm.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	f.caughtUp()
	for _, n := range f.Nodes() {
		f.Trusts(n.Name, f.roots().hashes())
	}
	f.awaitPhase(PhaseRenewing)
	if r := f.Rotation(); r.Nodes != nodes-nodes/4 {
		t.Errorf("%d nodes, want %d", r.Nodes, nodes-nodes/4)
	}
}

// An agent of the release before learns roots with its certificate: the one that it
// shows proves that it has them.
func TestCertificateProvesTrust(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	n1 := f.mustJoin(newMachine(t, "n1"), f.agentToken())
	if _, err := f.RotateCA(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	f.caughtUp()
	if _, _, err := f.sync(f.as(n1)); err != nil {
		t.Fatal(err)
	}
	if len(f.Rotation().Waiting) != 1 {
		t.Error("an old certificate proves nothing")
	}
	if err := f.renew(n1); err != nil {
		t.Fatal(err)
	}
	f.caughtUp()
	if _, _, err := f.sync(f.as(n1)); err != nil {
		t.Fatal(err)
	}
	f.awaitPhase(PhaseRenewing)
}

func TestUsers(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	admin := Peer{RoleAdmin, "admin"}
	make := func(name, role string) (*machine, error) {
		m := newMachine(t, name)
		g, err := f.CreateUser(t.Context(), UserSpec{Name: name, Role: role}, m.request(t))
		if err == nil {
			m.cert, err = x509.ParseCertificate(g.Certificate)
		}
		return m, err
	}
	ann, err := make("ann", "viewer")
	if err != nil {
		t.Fatal(err)
	}
	f.caughtUp()
	err = calls["tokens"](t, f.dial(f.as(ann)))
	if !strings.Contains(fmt.Sprint(err), "not implemented") {
		t.Errorf("a viewer lists tokens: %v", err)
	}
	_, err = weftv1.NewTokensClient(f.dial(f.as(ann))).Create(t.Context(), &weftv1.TokensCreateRequest{})
	wantCode(t, "a viewer makes a token", err, codes.PermissionDenied, "viewer ann may not call /weft.v1.Tokens/Create; the rule: role admin")
	_, err = make("ann", "admin")
	wantCode(t, "a name that is taken", err, codes.AlreadyExists, "there is a user ann already")
	_, err = f.RenewUser(t.Context(), Peer{RoleViewer, "ann"}, "admin", 0, newMachine(t, "admin").request(t))
	wantCode(t, "another's renewal", err, codes.PermissionDenied, "its own name, or role admin")
	_, err = f.RenewUser(t.Context(), admin, "bob", 0, newMachine(t, "bob").request(t))
	wantCode(t, "nobody's renewal", err, codes.NotFound, "weft user create bob")
	wantCode(t, "the last admin", f.RevokeUser(t.Context(), "admin"), codes.FailedPrecondition, "last admin")

	// Its stream is cut when it is revoked, and at no other time.
	s, err := reflectsOpen(t, f.dial(f.as(ann)))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.RevokeUser(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "a live stream", s.RecvMsg(&weftv1.Heartbeat{}), codes.PermissionDenied, "revoked at")
	wantCode(t, "a new call", calls["tokens"](t, f.dial(f.as(ann))), codes.PermissionDenied, "revoked at")
	_, err = f.RenewUser(t.Context(), admin, "ann", 0, ann.request(t))
	wantCode(t, "renewal of the revoked", err, codes.FailedPrecondition, "for good")
}

// Two admins revoke each other at once: one stays.
func TestAdminsRevokeEachOther(t *testing.T) {
	for range 20 {
		f := newFabric(t, storetest.New(), Config{})
		if _, err := f.CreateUser(t.Context(), UserSpec{Name: "ops", Role: "admin"}, newMachine(t, "ops").request(t)); err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		for _, name := range []string{"admin", "ops"} {
			both.Go(func() { _ = f.RevokeUser(t.Context(), name) })
		}
		both.Wait()
		f.caughtUp()
		left := 0
		for _, u := range f.Users() {
			if u.RevokedUnix == 0 {
				left++
			}
		}
		if left != 1 {
			t.Fatalf("%d admins are left", left)
		}
		f.stop()
	}
}

// A restored store does not know the key of admin.yaml: the next start records it.
func TestRestoredStoreKnowsTheAdminAgain(t *testing.T) {
	m, dir := storetest.New(), t.TempDir()
	mustOpen(t, m, dir)
	before, err := os.ReadFile(filepath.Join(dir, adminFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: userKey(adminName)}}}); err != nil {
		t.Fatal(err)
	}
	a := mustOpen(t, m, dir)
	u, _, err := read[user](t.Context(), a.store, userKey(adminName))
	held, err2 := join.ParseCredentials(before)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	hash, err := publicHash(keyOf(held))
	if err != nil || len(u.Keys) != 1 || u.Keys[0].Hash != hash {
		t.Errorf("copies of the old file are worth nothing: %v, %v", u.Keys, err)
	}
}

// Who comes with a certificate of a root that was dropped is told what became of it,
// and nothing else is let through: a handshake that fails explains nothing.
func TestDroppedCertificatesAreTold(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	n1, n2 := f.mustJoin(newMachine(t, "n1"), f.agentToken()), f.mustJoin(newMachine(t, "n2"), f.agentToken())
	users := map[string]*machine{}
	for _, name := range []string{"ann", "bob"} {
		m := newMachine(t, name)
		g, err := f.CreateUser(t.Context(), UserSpec{Name: name, Role: "viewer"}, m.request(t))
		if err != nil {
			t.Fatal(err)
		}
		if m.cert, err = x509.ParseCertificate(g.Certificate); err != nil {
			t.Fatal(err)
		}
		users[name] = m
	}
	if err := f.RevokeUser(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	if err := f.Revoke(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		if _, err := f.RotateCA(t.Context(), force); err != nil {
			t.Fatal(err)
		}
	}
	f.caughtUp()
	if _, err := f.FinishRotation(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	f.awaitPhase(PhaseSteady)
	wantCode(t, "revoked before it", calls["tokens"](t, f.dial(f.as(users["ann"]))), codes.PermissionDenied, "viewer ann: it was revoked at")
	wantCode(t, "not renewed", calls["tokens"](t, f.dial(f.as(users["bob"]))), codes.Unauthenticated,
		"the certificate of viewer bob is of a root that counts no more since the CA was rotated; get new credentials from an admin: weft user renew bob -o FILE")
	_, _, err := f.sync(f.as(n2))
	wantCode(t, "a node revoked before it", err, codes.PermissionDenied, "node n2: it was revoked at")
	_, _, err = f.sync(f.as(n1))
	wantCode(t, "a node that slept", err, codes.Unauthenticated, "of a root that counts no more since the CA was rotated; it renews by itself")
	if err := f.renew(n1); err != nil {
		t.Fatal(err)
	}
	if _, name, err := f.sync(f.as(n1)); err != nil || name != "n1" {
		t.Errorf("renewed, it is %q: %v", name, err)
	}
}
