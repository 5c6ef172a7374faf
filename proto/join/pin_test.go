package join

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func TestPinned(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	now := time.Now()
	server := func(by *issuer, from, to time.Duration) *x509.Certificate {
		return issue(t, by, &x509.Certificate{
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			NotBefore:   now.Add(from), NotAfter: now.Add(to),
		}).cert
	}
	leaf := server(&ca, -time.Hour, time.Hour)
	node := issue(t, &ca, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}).cert
	cases := []struct {
		name  string
		chain []*x509.Certificate
		want  string
	}{
		{"OK", []*x509.Certificate{leaf, ca.cert}, ""},
		{"OK with another root beside it", []*x509.Certificate{leaf, other.cert, ca.cert}, ""},
		{"bad: nothing", nil, "showed no certificate"},
		{"bad: the chain lacks the CA", []*x509.Certificate{leaf}, "not the one that the token names"},
		{"bad: another CA", []*x509.Certificate{server(&other, -time.Hour, time.Hour), other.cert}, "not the one that the token names"},
		{"bad: our CA, but not its signature", []*x509.Certificate{server(&other, -time.Hour, time.Hour), ca.cert}, "signed by unknown authority"},
		{"bad: a node plays server", []*x509.Certificate{node, ca.cert}, "incompatible key usage"},
		{"bad: ended", []*x509.Certificate{server(&ca, -time.Hour, -time.Minute), ca.cert}, "ended at"},
		{"OK: not yet, by a clock that is behind", []*x509.Certificate{server(&ca, time.Minute, time.Hour), ca.cert}, ""},
		{"bad: not yet, of another CA", []*x509.Certificate{server(&other, time.Minute, time.Hour), ca.cert}, "signed by unknown authority"},
	}
	for _, c := range cases {
		err := verifyPinned(c.chain, Hash(ca.cert), now)
		if c.want == "" && err != nil || c.want != "" && !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: want %q, got %v", c.name, c.want, err)
		}
	}
}

func TestPinnedHandshake(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	leaf := issue(t, &ca, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	serve := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.cert.Raw, ca.cert.Raw}, PrivateKey: leaf.key}}}
	if err := handshake(t, serve, PinnedTLS(NewToken(ca.cert), time.Now)); err != nil {
		t.Errorf("the right token: %v", err)
	}
	if err := handshake(t, serve, PinnedTLS(NewToken(other.cert), time.Now)); err == nil {
		t.Error("the token of another fabric was enough")
	}
}

func handshake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer there.Close()
		_ = tls.Server(there, server).HandshakeContext(t.Context())
	}()
	err := tls.Client(here, client).HandshakeContext(t.Context())
	here.Close()
	<-done
	return err
}
