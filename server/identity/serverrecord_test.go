package identity

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/join"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc/codes"
)

// clustered is a fabric whose server is one of several, with the files for that.
func clustered(t *testing.T, m *storetest.Memory) *fabric {
	t.Helper()
	dir := t.TempDir()
	if err := Found(t.Context(), m, dir, "s1", nil); err != nil {
		t.Fatal(err)
	}
	believes, err := PeerRoots(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := newFabric(t, m, Config{DataDir: dir, Believes: believes})
	f.keepsPeer()
	return f
}

func (f *fabric) keepsPeer() {
	f.t.Helper()
	if err := f.KeepPeer(f.t.Context(), "s1"); err != nil {
		f.t.Fatal(err)
	}
	f.caughtUp()
}

// restarted is the same server after another start.
func (f *fabric) restarted() *fabric {
	f.t.Helper()
	f.stop()
	if err := RenewPeer(f.dir, "s1", nil); err != nil {
		f.t.Fatal(err)
	}
	believes, err := PeerRoots(f.dir)
	if err != nil {
		f.t.Fatal(err)
	}
	again := newFabric(f.t, f.store, Config{DataDir: f.dir, Believes: believes})
	again.keepsPeer()
	return again
}

// dials is a call as a server makes it of another.
func (f *fabric) dials(c *fabric) error {
	_, err := weftv1.NewMembersClient(c.dial(f.DialTLS("s1"))).Inspect(f.t.Context(), &weftv1.MembersInspectRequest{})
	return err
}

// A rotation is not finished while a server shows a certificate of the old root; an
// etcd that started before it is named until it starts again.
func TestRotationAmongServers(t *testing.T) {
	f := clustered(t, storetest.New())
	old, _ := os.ReadFile(PeerPaths(f.dir).Key)
	if _, err := f.RotateCA(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	f.awaitPhase(PhaseRenewing)
	if r := f.Rotation(); fmt.Sprint(r.Lagging) != "[server s1]" && fmt.Sprint(r.Lagging) != "[server s1 user admin]" {
		t.Errorf("lagging: %v", r.Lagging)
	}
	if err := f.keepFiles(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := f.FinishRotation(t.Context(), false)
	wantCode(t, "finish before a server renewed", err, codes.FailedPrecondition, "in use by server s1")
	f.keepsPeer()
	if again, _ := os.ReadFile(PeerPaths(f.dir).Key); string(again) != string(old) {
		t.Error("another key under an etcd that may be reading the pair")
	}
	f.finishWhenAdminIsFresh()
	f.awaitPhase(PhaseSteady)
	f.keepsPeer()
	if r := f.Rotation(); fmt.Sprint(r.Restart) != "[s1]" {
		t.Errorf("to restart: %v", r.Restart)
	}
	if ps := fmt.Sprint(f.Problems()); !strings.Contains(ps, "the etcd of s1 goes by the roots from before") {
		t.Error(ps)
	}
	f = f.restarted()
	if r := f.Rotation(); len(r.Restart) > 0 {
		t.Errorf("to restart after it was: %v", r.Restart)
	}
}

// A server that was off during a rotation takes the CA over from another, and no CA
// that does not come from its own.
func TestServerThatSleptCatchesUp(t *testing.T) {
	m := storetest.New()
	f := clustered(t, m)
	entry, err := m.Get(t.Context(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	if later, err := Succeed(f.dir, entry.Value, "s1", nil); later || err != nil {
		t.Errorf("the same CA: %v, %v", later, err)
	}
	if _, err := f.RotateCA(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	f.awaitPhase(PhaseRenewing)
	next, err := m.Get(t.Context(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	if later, err := Succeed(f.dir, next.Value, "s1", nil); !later || err != nil {
		t.Errorf("a later CA: %v, %v", later, err)
	}
	if later, err := Succeed(f.dir, entry.Value, "s1", nil); later || err != nil {
		t.Errorf("an earlier CA: %v, %v", later, err)
	}
	f.keepsPeer()
	f.finishWhenAdminIsFresh()
	f.awaitPhase(PhaseSteady)
	before, _ := PeerRoots(f.dir)
	if later, err := SucceedFrom(t.Context(), m, f.dir, "s1", nil); !later || err != nil {
		t.Errorf("the end of the rotation, as the store has it: %v, %v", later, err)
	}
	if after, _ := PeerRoots(f.dir); len(before) != 2 || len(after) != 1 || before[0] != after[0] {
		t.Errorf("an etcd that starts takes %v, took %v", after, before)
	}
	if later, err := SucceedFrom(t.Context(), m, f.dir, "s1", nil); later || err != nil {
		t.Errorf("once more: %v, %v", later, err)
	}
	f.stop() // it follows the store, and would end with it
	m.Down()
	if later, err := SucceedFrom(t.Context(), m, f.dir, "s1", nil); later || err == nil {
		t.Errorf("a store that is away: %v, %v", later, err)
	}
	m.Inject(storetest.Fault{})
	other := clustered(t, storetest.New())
	foreign, err := other.store.Get(t.Context(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	if later, err := Succeed(f.dir, foreign.Value, "s1", nil); later || err == nil {
		t.Errorf("another fabric's CA: %v, %v", later, err)
	}
}

// Who is taken out calls no server any more; the server token lets it come back.
func TestRemovedServerIsRefused(t *testing.T) {
	f := clustered(t, storetest.New())
	if err := f.dials(f); !strings.Contains(fmt.Sprint(err), "not implemented") {
		t.Fatalf("a server: %v", err)
	}
	txn, err := f.ServerRemoval(t.Context(), "s1")
	if err == nil {
		_, err = f.store.Commit(t.Context(), txn)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.caughtUp()
	wantCode(t, "a removed server", f.dials(f), codes.PermissionDenied, "server s1: it was removed at")
	token, err := join.LoadToken(f.dir + "/" + serverTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.HandOver(t.Context(), token.Reveal(), Caller{Name: "s1", Known: true})
	wantCode(t, "it asks for the CA", err, codes.PermissionDenied, "server s1: it was removed at")
	if _, err = f.HandOver(t.Context(), token.Reveal(), Caller{Name: "s1"}); err != nil {
		t.Fatal(err)
	}
	f.caughtUp()
	if err := f.dials(f); !strings.Contains(fmt.Sprint(err), "not implemented") {
		t.Errorf("it joined again: %v", err)
	}
}

// The CA of the first release may sign no other: among several etcds, to rotate
// it is refused with the reason, and done when it is meant; old tokens follow.
func TestRotationOfAChildlessCA(t *testing.T) {
	m, dir := storetest.New(), t.TempDir()
	if _, err := makeServerKey(pathOfServerKey(dir)); err != nil {
		t.Fatal(err)
	}
	seal, err := loadServerKey(pathOfServerKey(dir))
	if err != nil {
		t.Fatal(err)
	}
	made := childlessCA(t)
	value, err := made.encode(seal)
	if err == nil {
		_, err = m.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: caKey, Value: value}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	f := newFabric(t, m, Config{DataDir: dir})
	n1 := f.mustJoin(newMachine(t, "n1"), f.agentToken())
	var txn store.Txn
	for _, name := range []string{"s1", "s2"} {
		s := server{Schema: 1, Name: name, Root: made.hash, Believes: []string{made.hash}}
		if err := put(&txn, serverKeyOf(name), 0, s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Commit(t.Context(), txn); err != nil {
		t.Fatal(err)
	}
	_, err = f.RotateCA(t.Context(), false)
	wantCode(t, "a rotation", err, codes.FailedPrecondition, "path length 0")
	if _, err = f.RotateCA(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	f.caughtUp()
	f.trusts("n1")
	f.awaitPhase(PhaseRenewing)
	if err := f.renew(n1); err != nil {
		t.Fatal(err)
	}
	if _, err := f.FinishRotation(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	f.awaitPhase(PhaseSteady)
	if _, name, err := f.sync(f.as(n1)); err != nil || name != "n1" {
		t.Errorf("after it: %q, %v", name, err)
	}
	f.mustJoin(newMachine(t, "n2"), f.agentToken())
}

// childlessCA is a CA as the first release made it.
func childlessCA(t *testing.T) ca {
	t.Helper()
	made, err := makeCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	template := *made.cert
	template.MaxPathLen, template.MaxPathLenZero = 0, true
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, made.key.Public(), made.key)
	if err == nil {
		made.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return made
}
