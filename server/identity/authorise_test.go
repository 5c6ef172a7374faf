package identity

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	v1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

// calls are one method of each service, with what it answers to those who may.
var calls = map[string]func(t *testing.T, c *grpc.ClientConn) error{
	"health": func(t *testing.T, c *grpc.ClientConn) error {
		_, err := grpc_health_v1.NewHealthClient(c).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		return err
	},
	"join": func(t *testing.T, c *grpc.ClientConn) error {
		_, err := weftv1.NewJoinClient(c).Renew(t.Context(), &weftv1.RenewRequest{})
		return err
	},
	"sync": func(t *testing.T, c *grpc.ClientConn) error {
		s, err := weftv1.NewNodeSyncClient(c).Sync(t.Context())
		if err == nil {
			_, err = s.Recv()
		}
		return err
	},
	"tokens": func(t *testing.T, c *grpc.ClientConn) error {
		_, err := weftv1.NewTokensClient(c).List(t.Context(), &weftv1.TokensListRequest{})
		return err
	},
	"reflection":     reflects("v1"),
	"old reflection": reflects("v1alpha"),
}

// reflects lists services. The messages of both versions are the same.
func reflects(version string) func(t *testing.T, c *grpc.ClientConn) error {
	return func(t *testing.T, c *grpc.ClientConn) error {
		s, err := c.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
			"/grpc.reflection."+version+".ServerReflection/ServerReflectionInfo")
		if err != nil {
			return err
		}
		_ = s.SendMsg(&v1.ServerReflectionRequest{MessageRequest: &v1.ServerReflectionRequest_ListServices{}})
		return s.RecvMsg(&v1.ServerReflectionResponse{})
	}
}

func TestWhoMayCallWhat(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	n1 := f.mustJoin(newMachine(t, "n1"), f.agentToken())
	conns := map[string]*grpc.ClientConn{
		"nobody": f.dial(f.trusting()),
		"node":   f.dial(f.as(n1)),
		"admin":  f.dial(f.admin()),
	}
	const passed = codes.Code(100) // reached its service, whatever that said
	cases := []struct {
		who, call string
		code      codes.Code
		text      string
	}{
		{"nobody", "health", passed, ""},
		{"nobody", "join", passed, ""},
		{"nobody", "sync", codes.Unauthenticated, "client certificate with role node"},
		{"nobody", "tokens", codes.Unauthenticated, "weft grpcurl-flags"},
		{"nobody", "reflection", codes.Unauthenticated, "role viewer or operator or admin"},
		{"nobody", "old reflection", codes.Unauthenticated, "role viewer or operator or admin"},
		{"node", "health", passed, ""},
		{"node", "join", passed, ""},
		{"node", "sync", passed, ""},
		{"node", "tokens", codes.PermissionDenied, "node n1 may not call /weft.v1.Tokens/List; the rule: role viewer or operator or admin"},
		{"node", "reflection", codes.PermissionDenied, "role viewer or operator or admin"},
		{"node", "old reflection", codes.PermissionDenied, "role viewer or operator or admin"},
		{"admin", "health", passed, ""},
		{"admin", "sync", codes.PermissionDenied, "admin admin may not call /weft.v1.NodeSync/Sync; the rule: role node"},
		{"admin", "tokens", passed, ""},
		{"admin", "reflection", passed, ""},
		{"admin", "old reflection", passed, ""},
	}
	for _, c := range cases {
		err := calls[c.call](t, conns[c.who])
		if c.code != passed {
			wantCode(t, c.who+" calls "+c.call, err, c.code, c.text)
			continue
		}
		if text := fmt.Sprint(err); strings.Contains(text, "may not call") || strings.Contains(text, "needs a client certificate") {
			t.Errorf("%s calls %s: %v", c.who, c.call, err)
		}
	}
}

// Foreign certificates are refused with a sentence: a handshake can only fail, and
// with TLS 1.3 the client may not even learn why.
func TestForeignCertificates(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	other := newFabric(t, storetest.New(), Config{})
	stranger := other.mustJoin(newMachine(t, "n1"), other.agentToken())
	forged := func(edit func(*x509.Certificate)) *tls.Config {
		m := newMachine(t, "n1")
		template := nodeTemplate("n1")
		edit(&template)
		cert, err := f.roots().issuing.sign(time.Now(), template, m.key.Public(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		m.cert = cert
		return f.as(m)
	}
	cases := []struct {
		name   string
		config *tls.Config
		code   codes.Code
		text   string
	}{
		{"of another fabric", f.as(stranger), codes.Unauthenticated, `"n1" is not of this fabric`},
		{"a server's", forged(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), codes.Unauthenticated, "incompatible key usage"},
		{"without a role", forged(func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "n1"} }), codes.Unauthenticated, "has no role"},
		{"never recorded", forged(func(*x509.Certificate) {}), codes.PermissionDenied, "not recorded"},
	}
	for _, c := range cases {
		_, _, err := f.sync(c.config)
		wantCode(t, c.name, err, c.code, c.text)
	}
	f.mustJoin(newMachine(t, "n1"), f.agentToken())
	_, _, err := f.sync(cases[3].config)
	wantCode(t, "another key under a known name", err, codes.PermissionDenied, "key was replaced")
}

func TestRevocationCutsStreams(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	told := make(chan string, 4)
	f.OnRevoke(func(node string) { told <- node })
	n1 := f.mustJoin(newMachine(t, "n1"), f.agentToken())
	n2 := f.mustJoin(newMachine(t, "n2"), f.agentToken())
	cut, _, err := f.sync(f.as(n1))
	if err != nil {
		t.Fatal(err)
	}
	kept, _, err := f.sync(f.as(n2))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Revoke(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	_, err = cut.Recv()
	wantCode(t, "the live stream", err, codes.PermissionDenied, "node n1: it was revoked at")
	if got := <-told; got != "n1" {
		t.Errorf("told of %s", got)
	}
	_, _, err = f.sync(f.as(n1))
	wantCode(t, "the next one", err, codes.PermissionDenied, "node n1: it was revoked at")
	if kept.Context().Err() != nil {
		t.Error("another node's stream was cut")
	}
	if err := f.Revoke(t.Context(), "n1"); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := f.Revoke(t.Context(), "n9"); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
}

// Times pass in a bubble: certificates end, streams with them, grace after that.
func TestCertificatesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, storetest.New(), Config{NodeLife: time.Minute, Grace: time.Hour})
		n1 := f.mustJoin(newMachine(t, "n1"), f.agentToken())
		s, _, err := f.sync(f.as(n1))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Recv() // waits until the certificate ends
		wantCode(t, "the live stream", err, codes.Unauthenticated, "the certificate of node n1 ended at "+utc(n1.cert.NotAfter.Unix()))
		time.Sleep(time.Minute)
		_, _, err = f.sync(f.as(n1))
		wantCode(t, "the next one", err, codes.Unauthenticated, "clock says "+utc(time.Now().Unix()))
		if err := f.renew(n1); err != nil {
			t.Errorf("renewed within its grace: %v", err)
		}
		f.caughtUp()
		if _, _, err := f.sync(f.as(n1)); err != nil {
			t.Errorf("with the new one: %v", err)
		}
		time.Sleep(time.Hour + 2*time.Minute)
		wantCode(t, "after its grace", f.renew(n1), codes.PermissionDenied, "more than 1h0m0s ago")
		if err := f.join(n1, f.agentToken()); err != nil {
			t.Errorf("with a token: %v", err)
		}
	})
}

func TestServerIsStarting(t *testing.T) {
	a, err := Open(t.Context(), storetest.New(), Config{DataDir: t.TempDir(), Server: "https://localhost"})
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, "n1")
	if m.cert, err = a.roots().issuing.sign(time.Now(), nodeTemplate("n1"), m.key.Public(), time.Hour); err != nil {
		t.Fatal(err)
	}
	_, err = a.Identify(m.cert)
	wantCode(t, "before Run", err, codes.Unavailable, "starting")
}

func TestClockJumped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, storetest.New(), Config{})
		m := newMachine(t, "n1")
		template := nodeTemplate("n1")
		early, err := f.roots().issuing.sign(time.Now(), template, m.key.Public(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		early.NotBefore = time.Now().Add(time.Hour) // as if signed by a clock ahead
		if _, err := f.named(early, early.NotBefore); err != nil {
			t.Fatal(err)
		}
		_, err = f.Identify(early)
		wantCode(t, "not yet", err, codes.Unauthenticated, "not valid before "+utc(early.NotBefore.Unix())+", and this machine's clock says "+utc(time.Now().Unix()))
	})
}

// reflectsOpen opens a stream that stays, and returns once the server has let it in.
func reflectsOpen(t *testing.T, c *grpc.ClientConn) (grpc.ClientStream, error) {
	s, err := c.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
	if err != nil {
		return nil, err
	}
	if err := s.SendMsg(&v1.ServerReflectionRequest{MessageRequest: &v1.ServerReflectionRequest_ListServices{}}); err != nil {
		return nil, err
	}
	return s, s.RecvMsg(&v1.ServerReflectionResponse{})
}
