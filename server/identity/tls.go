package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/weft-net/weft/proto/intent"
)

// serverCert is this server's certificate. It lives in memory: it is made at
// each start, for the names of that start, and again before it ends.
type serverCert struct {
	names     []string
	addresses []net.IP

	mu   sync.Mutex
	cert *tls.Certificate
	root string // hash of the one that signed it
}

func (s *serverCert) setNames(names []string) error {
	names = append([]string{"localhost", "127.0.0.1", "::1"}, names...)
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	for i, name := range names {
		if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
			if !addr.IsUnspecified() && !slices.ContainsFunc(s.addresses, net.IP(addr.WithZone("").AsSlice()).Equal) {
				s.addresses = append(s.addresses, addr.WithZone("").AsSlice())
			}
			continue
		}
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if err := intent.ValidName(strings.TrimPrefix(name, "*.")); err != nil {
			if i == len(names)-1 {
				continue // the host's own name: nobody can dial it
			}
			return fmt.Errorf("identity: the server's name %w, or an address (--tls-san)", err)
		}
		if !slices.Contains(s.names, name) {
			s.names = append(s.names, name)
		}
	}
	return nil
}

// serverCertificate is what a tls.Config asks for at each handshake.
func (a *Authority) serverCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s := &a.server
	s.mu.Lock()
	defer s.mu.Unlock()
	r := a.roots()
	if s.cert != nil && s.root == r.issuing.hash && s.cert.Leaf.NotAfter.Sub(a.config.Now()) > renewBefore {
		return s.cert, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("identity: the server's key: %w", err)
	}
	leaf, err := r.issuing.sign(a.config.Now(), x509.Certificate{
		Subject:     pkix.Name{CommonName: "weft-server", Organization: []string{organizationServer}},
		DNSNames:    s.names,
		IPAddresses: s.addresses,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key.Public(), serverLife)
	if err != nil {
		return nil, err
	}
	s.root = r.issuing.hash
	s.cert = &tls.Certificate{Certificate: append([][]byte{leaf.Raw}, r.chain()...), PrivateKey: key, Leaf: leaf}
	return s.cert, nil
}

// TLS is how this server serves. A client may show no certificate, or any: whether
// it is of this fabric, has ended or was revoked, Identify says at each call. A
// handshake can only fail, not explain; who is let in by it may call no more than
// who shows nothing.
func (a *Authority) TLS(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: protocols,
		ClientAuth: tls.RequestClientCert,
		// No ClientCAs: they are only a hint to clients, and change while we serve.
		GetCertificate:         a.serverCertificate,
		SessionTicketsDisabled: true, // each connection shows its certificate
	}
}
