package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/server/store"
)

// ServerName is a name that only servers' certificates hold. Members of an
// embedded etcd know each other by it: nodes' certificates, of the same CA, hold
// no names at all.
const ServerName = "server.weft.internal"

// Files of a server that speaks to others before its store is open, below
// <data-dir>/peer, all 0600.
const (
	peerFolder    = "peer"
	peerAuthority = "authority.json" // the CA as the store has it: its key is sealed
	peerCAFile    = "ca.crt"
	peerCertFile  = "server.crt"
	peerKeyFile   = "server.key"
)

func peerAuthorityPath(dataDir string) string {
	return filepath.Join(dataDir, peerFolder, peerAuthority)
}

func pathOfServerKey(dataDir string) string { return filepath.Join(dataDir, serverKeyFile) }

// PeerFiles are the files of mutual TLS between servers.
type PeerFiles struct{ CA, Cert, Key string }

// PeerPaths are those of a data folder.
func PeerPaths(dataDir string) PeerFiles {
	dir := filepath.Join(dataDir, peerFolder)
	return PeerFiles{filepath.Join(dir, peerCAFile), filepath.Join(dir, peerCertFile), filepath.Join(dir, peerKeyFile)}
}

// Found writes the files by which a server speaks to others, from the CA in a
// store, which it makes if there is none.
func Found(ctx context.Context, s store.Store, dataDir, name string, names []string) error {
	path := filepath.Join(dataDir, serverKeyFile)
	if _, err := openCA(ctx, s, path); err != nil {
		return err
	}
	entry, err := s.Get(ctx, caKey)
	if err != nil {
		return fmt.Errorf("identity: read the CA: %w", err)
	}
	return keepPeer(dataDir, entry.Value, name, names)
}

// Receive writes what another server handed over: server.key, and the files by
// which this one speaks to others. A server.key of another fabric is refused.
func Receive(dataDir string, key, authority []byte, name string, names []string) error {
	if _, err := parseServerKey(string(key)); err != nil {
		return fmt.Errorf("identity: the server.key that was handed over: %w", err)
	}
	path := filepath.Join(dataDir, serverKeyFile)
	held, err := loadServerKey(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dataDir, 0o700); err != nil {
			return fmt.Errorf("identity: %w", err)
		}
		if err := disk.WriteFile(path, key, 0o600); err != nil {
			return fmt.Errorf("identity: %w; the server must be able to write to its data folder (--data-dir)", err)
		}
	case err != nil:
		return err
	default:
		if got, _ := parseServerKey(string(key)); got != held {
			return otherFabric(path)
		}
	}
	return keepPeer(dataDir, authority, name, names)
}

// RenewPeer makes a certificate for the names of this start. It needs no store:
// without others there may be none yet.
func RenewPeer(dataDir, name string, names []string) error {
	b, err := os.ReadFile(peerAuthorityPath(dataDir))
	if err != nil {
		return fmt.Errorf("identity: %w; copy it from another server of this fabric", err)
	}
	return keepPeer(dataDir, b, name, names)
}

// keepPeer writes the files from the CA as the store has it, with a new key.
func keepPeer(dataDir string, authority []byte, name string, names []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("identity: the server's key: %w", err)
	}
	return writePeer(dataDir, authority, name, names, key)
}

// renewPeer writes the files anew with the key that is there, while an etcd reads
// them: one that starts ends over a pair that does not fit.
func renewPeer(dataDir string, authority []byte, name string, names []string) error {
	f := PeerPaths(dataDir)
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return fmt.Errorf("identity: %w; start the server again: it makes new ones", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("identity: %s holds a key of kind %T; start the server again: it makes a new one", f.Key, pair.PrivateKey)
	}
	return writePeer(dataDir, authority, name, names, key)
}

func writePeer(dataDir string, authority []byte, name string, names []string, signer *ecdsa.PrivateKey) error {
	where := peerAuthorityPath(dataDir)
	opened, err := openRoots(store.Entry{Key: where, Value: authority}, store.Entry{}, pathOfServerKey(dataDir))
	if err != nil {
		return err
	}
	cert, err := opened.server(name, names, signer)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return fmt.Errorf("identity: the server's key: %w", err)
	}
	dir := filepath.Join(dataDir, peerFolder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	// The certificate last: after a crash in between, a start makes all of it anew.
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{peerAuthority, authority},
		{peerCAFile, opened.pem()},
		{peerKeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})},
		{peerCertFile, chainPEM(cert.Certificate)},
	} {
		if err := disk.WriteFile(filepath.Join(dir, f.name), f.content, 0o600); err != nil {
			return fmt.Errorf("identity: %w; the server must be able to write to its data folder (--data-dir)", err)
		}
	}
	return nil
}

func chainPEM(chain [][]byte) []byte {
	var out []byte
	for _, der := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// server makes a certificate by which a server dials others and is dialed.
func (c ca) server(name string, names []string, key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	var s serverCert
	if err := s.setNames(names); err != nil {
		return nil, err
	}
	leaf, err := c.sign(time.Now(), x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: []string{organizationServer}},
		DNSNames:    append([]string{ServerName}, s.names...),
		IPAddresses: s.addresses,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key.Public(), serverLife)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw, c.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// PeerTLS is how a server dials another with the files of its data folder.
func PeerTLS(dataDir string) (*tls.Config, error) {
	f := PeerPaths(dataDir)
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	b, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("identity: %s holds no certificate", f.CA)
	}
	return dialServer(func() *x509.CertPool { return roots }, func() (*tls.Certificate, error) { return &pair, nil }), nil
}

// DialTLS is how this server dials another.
func (a *Authority) DialTLS(name string) *tls.Config {
	var made *tls.Certificate
	var root string // that signed it
	cert := func() (*tls.Certificate, error) {
		a.server.mu.Lock()
		defer a.server.mu.Unlock()
		r := a.roots()
		if made != nil && root == r.issuing.hash && time.Until(made.Leaf.NotAfter) > renewBefore {
			return made, nil
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("identity: the server's key: %w", err)
		}
		next, err := r.server(name, nil, key)
		if err == nil {
			made, root = next, r.issuing.hash
		}
		return made, err
	}
	return dialServer(func() *x509.CertPool { return a.roots().pool() }, cert)
}

// dialServer trusts who holds a server's certificate of our CA, wherever it is.
func dialServer(roots func() *x509.CertPool, cert func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		NextProtos:           []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert() },
		InsecureSkipVerify:   true, // VerifyConnection below: addresses change, the role does not
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("identity: the server showed no certificate")
			}
			leaf := s.PeerCertificates[0]
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
				return fmt.Errorf("identity: the other server's certificate: %w", err)
			}
			if !slices.Equal(leaf.Subject.Organization, []string{organizationServer}) {
				return fmt.Errorf("identity: %q answers, which is no server", leaf.Subject.CommonName)
			}
			return nil
		},
	}
}

// KeepPeer renews the files by which this server speaks to others, once they are
// near their end or the CA is another, and records of which root they are. A server
// without such files has no need of them.
func (a *Authority) KeepPeer(ctx context.Context, name string) error {
	b, err := os.ReadFile(PeerPaths(a.config.DataDir).Cert)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	entry, err := a.store.Get(ctx, caKey)
	if err != nil {
		return fmt.Errorf("identity: read the CA: %w", err)
	}
	held, err := os.ReadFile(peerAuthorityPath(a.config.DataDir))
	if err != nil || string(held) != string(entry.Value) || !lasts(b) { // the CA was rotated, or time passed
		if err := renewPeer(a.config.DataDir, entry.Value, name, a.config.Names); err != nil {
			return err
		}
	}
	return a.recordServer(ctx, name)
}

// lasts says that the first certificate of a file is good for long enough.
func lasts(file []byte) bool {
	block, _ := pem.Decode(file)
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	return err == nil && time.Until(cert.NotAfter) > renewBefore
}

// PeerName is the name under which this server speaks to others, empty if its
// certificate cannot be read, and whether a data folder is of such a server at all.
func PeerName(dataDir string) (name string, among bool) {
	if _, err := os.Stat(filepath.Join(dataDir, peerFolder, peerAuthority)); err != nil {
		return "", false
	}
	b, _ := os.ReadFile(PeerPaths(dataDir).Cert)
	if block, _ := pem.Decode(b); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			return cert.Subject.CommonName, true
		}
	}
	return "", true
}

// Fingerprint names a fabric by its CA, short enough to compare by eye.
func (a *Authority) Fingerprint() string { return fingerprint(a.roots().issuing.hash) }

func fingerprint(hash string) string { return hash[:16] }

// PeerFingerprint is that of the fabric whose files a data folder holds; empty
// when it holds none.
func PeerFingerprint(dataDir string) string {
	b, err := os.ReadFile(filepath.Join(dataDir, peerFolder, peerAuthority))
	if err != nil {
		return ""
	}
	opened, err := loadCA(store.Entry{Key: peerAuthority, Value: b}, filepath.Join(dataDir, serverKeyFile))
	if err != nil {
		return ""
	}
	return fingerprint(opened.hash)
}
