package identity

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func wantCode(t *testing.T, what string, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("%s: want %v with %q, got %v", what, code, text, err)
	}
}

func TestANodeJoins(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	token := f.newToken(TokenSpec{Labels: map[string]string{"site": "fra"}})
	n1 := f.mustJoin(newMachine(t, "n1"), token)
	_, name, err := f.sync(f.as(n1))
	if err != nil || name != "n1" {
		t.Fatalf("the server knows it as %q: %v", name, err)
	}
	e, err := f.store.Get(t.Context(), kind.Key(kind.Node, "", "n1"))
	if err != nil {
		t.Fatal(err)
	}
	if o, err := kind.Decode(e.Value, &kind.NodeSpec{}); err != nil || o.Metadata.Labels["site"] != "fra" || o.Metadata.CreatedUnix == 0 {
		t.Errorf("its object is %+v, %v", o, err)
	}
	if text := f.store.String(); strings.Contains(text, token.Secret.Reveal()) || strings.Contains(text, f.agentToken().Secret.Reveal()) {
		t.Error("the store holds a token's secret")
	}
	if list, err := f.Tokens(t.Context()); err != nil || len(list) != 2 || list[0].Used+list[1].Used != 1 {
		t.Errorf("tokens: %+v, %v", list, err)
	}
}

// TestACertificateCountsAtOnce: whoever is given one shows it the next moment.
func TestACertificateCountsAtOnce(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	token := f.agentToken()
	for i := range 50 {
		n := newMachine(t, fmt.Sprintf("n%d", i))
		if err := f.join(n, token); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Identify(n.cert); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJoinAgain(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	once := f.newToken(TokenSpec{Uses: 1})
	n1 := f.mustJoin(newMachine(t, "n1"), once)
	if err := f.join(n1, once); err != nil {
		t.Errorf("the same key, its token used up: the answer may have been lost: %v", err)
	}
	object, err := f.store.Get(t.Context(), kind.Key(kind.Node, "", "n1"))
	if err != nil || object.Revision != object.Created {
		t.Errorf("its object was written again: %+v, %v", object, err)
	}
	wantCode(t, "another key", f.join(newMachine(t, "n1"), f.agentToken()), codes.AlreadyExists, "weft token create --node n1 --replace")
	wantCode(t, "a used token", f.join(newMachine(t, "n2"), once), codes.PermissionDenied, "used up (1 of 1)")
	if err := f.join(newMachine(t, "n1"), f.newToken(TokenSpec{Nodes: []string{"n1"}, Replace: true})); err != nil {
		t.Errorf("replaced: %v", err)
	}
	f.caughtUp()
	_, _, err = f.sync(f.as(n1))
	wantCode(t, "the old key", err, codes.PermissionDenied, "its key was replaced")
	wantCode(t, "its renewal", f.renew(n1), codes.PermissionDenied, "recorded with another key")
}

func TestRacingJoins(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	once := f.newToken(TokenSpec{Uses: 1})
	const racers = 8
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		m := newMachine(t, fmt.Sprintf("n%d", i))
		request := m.request(t)
		wg.Go(func() {
			_, errs[i] = f.Join(t.Context(), &weftv1.JoinRequest{Token: once.Reveal(), Node: m.name, CertificateRequest: request})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		wantCode(t, "loser", err, codes.PermissionDenied, "used up")
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
}

func TestJoinRefused(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	other := newFabric(t, storetest.New(), Config{})
	m := newMachine(t, "n1")
	revoked := f.newToken(TokenSpec{})
	if err := f.RevokeToken(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	forged := f.newToken(TokenSpec{})
	forged.Secret = f.agentToken().Secret
	good := f.agentToken().Reveal()
	cases := []struct {
		name    string
		request *weftv1.JoinRequest
		code    codes.Code
		text    string
	}{
		{"OK", &weftv1.JoinRequest{Token: good, Node: "n1", CertificateRequest: m.request(t)}, codes.OK, ""},
		{"bad: no token", &weftv1.JoinRequest{Node: "n2", CertificateRequest: m.request(t)}, codes.InvalidArgument, "the token is empty"},
		{"bad: revoked token", &weftv1.JoinRequest{Token: revoked.Reveal(), Node: "n1", CertificateRequest: m.request(t)}, codes.PermissionDenied, "not known"},
		{"bad: forged secret", &weftv1.JoinRequest{Token: forged.Reveal(), Node: "n1", CertificateRequest: m.request(t)}, codes.PermissionDenied, "not known"},
		{"bad: of another fabric", &weftv1.JoinRequest{Token: other.agentToken().Reveal(), Node: "n1", CertificateRequest: m.request(t)}, codes.PermissionDenied, "another fabric"},
		{"bad: name", &weftv1.JoinRequest{Token: good, Node: "N_1", CertificateRequest: m.request(t)}, codes.InvalidArgument, "--node-name"},
		{"bad: no name", &weftv1.JoinRequest{Token: good, CertificateRequest: m.request(t)}, codes.InvalidArgument, "--node-name"},
		{"bad: request for another name", &weftv1.JoinRequest{Token: good, Node: "n2", CertificateRequest: m.request(t)}, codes.InvalidArgument, `is for "n1"`},
		{"bad: no request", &weftv1.JoinRequest{Token: good, Node: "n1"}, codes.InvalidArgument, "PKCS #10"},
		{"bad: huge request", &weftv1.JoinRequest{Token: good, Node: "n1", CertificateRequest: make([]byte, maxRequest+1)}, codes.InvalidArgument, "at most"},
		{"bad: signature", &weftv1.JoinRequest{Token: good, Node: "n1", CertificateRequest: tampered(m.request(t))}, codes.InvalidArgument, "certificate request"},
		{"bad: machine", &weftv1.JoinRequest{Token: good, Node: "n1", CertificateRequest: m.request(t), Machine: strings.Repeat("x", 200)}, codes.InvalidArgument, "machine id"},
	}
	for _, c := range cases {
		_, err := f.Join(t.Context(), c.request)
		wantCode(t, c.name, err, c.code, c.text)
	}
}

func tampered(b []byte) []byte {
	b[len(b)-1] ^= 1
	return b
}

// The pure rules of who is admitted, one line a case.
func TestAdmit(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	known := func(key string, edit func(*Node)) *Node {
		n := &Node{Name: "n1", Key: Key{Hash: key, EndsUnix: now.Unix() + 3600}}
		if edit != nil {
			edit(n)
		}
		return n
	}
	good := token{Hash: secretHash("s"), Token: Token{ID: "t"}}
	with := func(edit func(*token)) *token { t := good; edit(&t); return &t }
	revoked := func(n *Node) { n.RevokedUnix = 1 }
	overdue := func(n *Node) { n.Key.EndsUnix = now.Add(-31 * 24 * time.Hour).Unix() }
	replace := with(func(t *token) { t.Replace = true; t.Nodes = []string{"n1"} })
	cases := []struct {
		name  string
		token *token
		known *Node
		code  codes.Code
		fresh bool
	}{
		{"OK: new", &good, nil, codes.OK, true},
		{"OK: again", &good, known("k", nil), codes.OK, false},
		{"OK: again, token used up since", with(func(t *token) { t.Uses, t.Used = 1, 1 }), known("k", nil), codes.OK, false},
		{"OK: again, token expired since", with(func(t *token) { t.ExpiresUnix = now.Unix() }), known("k", nil), codes.OK, false},
		{"OK: long away", &good, known("k", overdue), codes.OK, true},
		{"OK: the name was revoked, the key is new", &good, known("old", revoked), codes.OK, true},
		{"OK: replaced", replace, known("old", nil), codes.OK, true},
		{"OK: revoked, then wanted back", replace, known("k", revoked), codes.OK, true},
		{"OK: for this name", with(func(t *token) { t.Nodes = []string{"n0", "n1"} }), nil, codes.OK, true},
		{"OK: last use", with(func(t *token) { t.Uses, t.Used = 2, 1 }), nil, codes.OK, true},
		{"OK: last second", with(func(t *token) { t.ExpiresUnix = now.Unix() + 1 }), nil, codes.OK, true},
		{"bad: no token", nil, known("k", nil), codes.PermissionDenied, false},
		{"bad: secret", with(func(t *token) { t.Hash = secretHash("x") }), nil, codes.PermissionDenied, false},
		{"bad: expired", with(func(t *token) { t.ExpiresUnix = now.Unix() }), nil, codes.PermissionDenied, false},
		{"bad: used up", with(func(t *token) { t.Uses, t.Used = 1, 1 }), nil, codes.PermissionDenied, false},
		{"bad: for others", with(func(t *token) { t.Nodes = []string{"n2"} }), nil, codes.PermissionDenied, false},
		{"bad: another key", &good, known("old", nil), codes.AlreadyExists, false},
		{"bad: another key, long away", &good, known("old", overdue), codes.AlreadyExists, false},
		{"bad: revoked key", &good, known("k", revoked), codes.PermissionDenied, false},
		{"bad: long away, token used up", with(func(t *token) { t.Uses, t.Used = 1, 1 }), known("k", overdue), codes.PermissionDenied, false},
	}
	c := claim{node: "n1", keyHash: "k", secret: "s", now: now, grace: 30 * 24 * time.Hour}
	for _, tc := range cases {
		a, err := admit(c, tc.token, tc.known)
		if status.Code(err) != tc.code || a.fresh != tc.fresh {
			t.Errorf("%s: want %v, fresh %v; got %v, %+v", tc.name, tc.code, tc.fresh, err, a)
		}
		if err == nil && (a.node.Key.Hash != "k" || a.node.RevokedUnix != 0) {
			t.Errorf("%s: recorded as %+v", tc.name, a.node)
		}
	}
}

func TestRenew(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	n1 := f.mustJoin(newMachine(t, "n1"), f.agentToken())
	first := n1.cert.SerialNumber
	if err := f.renew(n1); err != nil || n1.cert.SerialNumber.Cmp(first) == 0 {
		t.Errorf("renewed: %v", err)
	}
	wantCode(t, "a stranger", f.renew(newMachine(t, "n2")), codes.NotFound, "weft token create --node n2")
	wantCode(t, "an impostor", f.renew(newMachine(t, "n1")), codes.PermissionDenied, "another key")
	if err := f.Revoke(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "the revoked", f.renew(n1), codes.PermissionDenied, "--replace")
	wantCode(t, "its return", f.join(n1, f.agentToken()), codes.PermissionDenied, "was revoked at")
	if err := f.join(newMachine(t, "n1"), f.agentToken()); err != nil {
		t.Errorf("the name under a new key: %v", err)
	}
}

func TestLostRaces(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	token := f.agentToken()
	f.store.Conflict(3)
	f.mustJoin(newMachine(t, "n1"), token)
	f.store.Inject(storetest.Fault{Before: func(store.Txn) error { return store.ErrConflict }})
	wantCode(t, "always beaten", f.join(newMachine(t, "n2"), token), codes.Unavailable, "try again")
	f.store.Inject(storetest.Fault{Before: func(store.Txn) error { return storetest.ErrDown }})
	wantCode(t, "no store", f.join(newMachine(t, "n2"), token), codes.Unavailable, "store")
	f.store.Inject(storetest.Fault{After: func(store.Txn) error { return context.DeadlineExceeded }})
	n3 := newMachine(t, "n3")
	wantCode(t, "a lost answer", f.join(n3, token), codes.Unavailable, "store")
	f.store.Inject(storetest.Fault{})
	f.mustJoin(n3, token)
}

func FuzzClaim(f *testing.F) {
	f.Add("n1", "machine", newMachine(f, "n1").request(f))
	a := &Authority{config: Config{}.withDefaults()}
	f.Fuzz(func(t *testing.T, node, machine string, request []byte) {
		c, key, err := a.claim(node, machine, request)
		if err == nil && (key == nil || c.keyHash == "" || intent.ValidName(c.node) != nil) {
			t.Errorf("accepted %+v", c)
		}
	})
}
