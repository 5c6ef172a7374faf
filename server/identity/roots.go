package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
)

// caNextKey holds the CA that a rotation spreads, until it signs.
const caNextKey = store.Identity + "ca/next"

// roots are all CAs that count, as of one moment. The value never changes.
type roots struct {
	issuing ca
	old     []oldRoot // that signed before, the newest first
	next    *nextRoot // that will sign, once everybody trusts it
	since   time.Time // when issuing took over; zero for the first
}

// oldRoot is a CA whose key is gone. What it signed counts until it is dropped;
// its cross certificate stands until it ends itself, so that whoever holds only
// this root, by a token or on a disk, can still follow to the ones after it.
type oldRoot struct {
	cert    *x509.Certificate
	cross   *x509.Certificate // its successor's key, signed by it
	dropped bool
}

type nextRoot struct {
	ca
	cross *x509.Certificate // signed by issuing
	since time.Time
}

// oldRecord is an oldRoot as it is stored, in the record of the one that signs.
type oldRecord struct {
	Certificate []byte `json:"certificate"` // X.509, DER
	Cross       []byte `json:"cross"`       // X.509, DER
	Dropped     bool   `json:"dropped,omitempty"`
}

// nextRecord is what is below caNextKey.
type nextRecord struct {
	caRecord
	Cross []byte `json:"cross"` // X.509, DER
}

// roots answers which CAs count, as Run last read it.
func (a *Authority) roots() *roots { return a.counting.Load() }

// readRoots reads the CAs from the store.
func readRoots(ctx context.Context, s store.Store, keyPath string) (*roots, error) {
	entry, err := s.Get(ctx, caKey)
	if err != nil {
		return nil, fmt.Errorf("identity: read the CA: %w", err)
	}
	next, err := s.Get(ctx, caNextKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("identity: read the next CA: %w", err)
	}
	return openRoots(entry, next, keyPath)
}

// openRoots opens what the store has below caKey and caNextKey; next may be zero.
func openRoots(entry, next store.Entry, keyPath string) (*roots, error) {
	issuing, err := loadCA(entry, keyPath)
	if err != nil {
		return nil, err
	}
	out := &roots{issuing: issuing}
	var r caRecord
	if err := json.Unmarshal(entry.Value, &r); err != nil {
		return nil, fmt.Errorf("identity: the CA in the store (%s): %w", entry.Key, err)
	}
	if r.SinceUnix != 0 {
		out.since = time.Unix(r.SinceUnix, 0)
	}
	for _, o := range r.Old {
		cert, err := x509.ParseCertificate(o.Certificate)
		cross, err2 := x509.ParseCertificate(o.Cross)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("identity: an old root in the store (%s): %w", entry.Key, err)
		}
		out.old = append(out.old, oldRoot{cert, cross, o.Dropped})
	}
	if next.Key == "" {
		return out, nil
	}
	opened, err := loadCA(next, keyPath)
	if err != nil {
		return nil, err
	}
	var n nextRecord
	if err := json.Unmarshal(next.Value, &n); err != nil {
		return nil, fmt.Errorf("identity: the next CA in the store (%s): %w", next.Key, err)
	}
	cross, err := x509.ParseCertificate(n.Cross)
	if err != nil {
		return nil, fmt.Errorf("identity: the next CA in the store (%s): %w", next.Key, err)
	}
	out.next = &nextRoot{opened, cross, time.Unix(n.SinceUnix, 0)}
	return out, nil
}

// counted are the old roots whose certificates still count.
func (r *roots) counted() []oldRoot {
	now := time.Now()
	return slices.DeleteFunc(slices.Clone(r.old), func(o oldRoot) bool { return o.dropped || now.After(o.cert.NotAfter) })
}

// trusted are the roots that everybody is told to trust, the newest first.
func (r *roots) trusted() []*x509.Certificate {
	var out []*x509.Certificate
	if r.next != nil {
		out = append(out, r.next.cert)
	}
	out = append(out, r.issuing.cert)
	for _, o := range r.counted() {
		out = append(out, o.cert)
	}
	return out
}

// told are trusted as they go over the wire.
func (r *roots) told() [][]byte {
	var out [][]byte
	for _, c := range r.trusted() {
		out = append(out, c.Raw)
	}
	return out
}

// hashes are trusted by the hashes that tokens pin.
func (r *roots) hashes() []string {
	var out []string
	for _, c := range r.trusted() {
		out = append(out, join.Hash(c))
	}
	return out
}

// pool are the roots of certificates that count here.
func (r *roots) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range r.trusted() {
		pool.AddCert(c)
	}
	return pool
}

// dropped says whether a certificate was signed by a root that counted once.
func (r *roots) dropped(cert *x509.Certificate) bool {
	pool := x509.NewCertPool()
	for _, o := range r.old {
		pool.AddCert(o.cert)
	}
	_, err := cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: cert.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil
}

// pem are trusted as files have them.
func (r *roots) pem() []byte {
	var out []byte
	for _, c := range r.trusted() {
		out = append(out, certPEM(c)...)
	}
	return out
}

// knows says whether a token's pin is a root of this fabric, dropped ones and the
// next among them: the chain that servers show leads there.
func (r *roots) knows(hash string) bool {
	if hash == r.issuing.hash || r.next != nil && hash == r.next.hash {
		return true
	}
	now := time.Now()
	return slices.ContainsFunc(r.old, func(o oldRoot) bool { return join.Hash(o.cert) == hash && !now.After(o.cert.NotAfter) })
}

// knowsAny says whether a file of roots, PEM, has one that this fabric knows.
func (r *roots) knowsAny(file []byte) bool {
	for block, rest := pem.Decode(file); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && r.knows(join.Hash(cert)) {
			return true
		}
	}
	return false
}

// chain is what servers show after their own certificate: the root, because a
// machine that joins knows only its hash, and the way to it from each older root.
func (r *roots) chain() [][]byte {
	out := [][]byte{r.issuing.cert.Raw}
	now := time.Now()
	for _, o := range r.old {
		if now.After(o.cert.NotAfter) {
			break // nobody can follow from here or from before
		}
		out = append(out, o.cross.Raw, o.cert.Raw)
	}
	return out
}

// server makes a certificate by which a server dials others and is dialed.
func (r *roots) server(name string, names []string, key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	cert, err := r.issuing.server(name, names, key)
	if err == nil {
		cert.Certificate = append(cert.Certificate[:1], r.chain()...)
	}
	return cert, err
}

// cross signs another CA's key, for those who trust this one alone. It ends with
// either.
func (c ca) cross(other *x509.Certificate) (*x509.Certificate, error) {
	template := x509.Certificate{
		SerialNumber: serial(), Subject: other.Subject, SubjectKeyId: other.SubjectKeyId,
		NotBefore: other.NotBefore, NotAfter: other.NotAfter,
		KeyUsage: other.KeyUsage, IsCA: true, BasicConstraintsValid: true,
	}
	if c.cert.NotAfter.Before(template.NotAfter) {
		template.NotAfter = c.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, c.cert, other.PublicKey, c.key)
	if err != nil {
		return nil, fmt.Errorf("identity: sign the next CA: %w", err)
	}
	return x509.ParseCertificate(der)
}

// encode is what the store has of the CA that signs, and of those before it.
func (r *roots) encode(seal serverKey) ([]byte, error) {
	record, err := r.issuing.record(seal)
	if err != nil {
		return nil, err
	}
	if !r.since.IsZero() {
		record.SinceUnix = r.since.Unix()
	}
	for _, o := range r.old {
		record.Old = append(record.Old, oldRecord{o.cert.Raw, o.cross.Raw, o.dropped})
	}
	return json.Marshal(record)
}

// encode is what the store has of the next CA.
func (n *nextRoot) encode(seal serverKey) ([]byte, error) {
	record, err := n.ca.record(seal)
	if err != nil {
		return nil, err
	}
	record.SinceUnix = n.since.Unix()
	return json.Marshal(nextRecord{record, n.cross.Raw})
}

// record is a CA with its key sealed.
func (c ca) record(seal serverKey) (caRecord, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return caRecord{}, fmt.Errorf("identity: seal the CA: %w", err)
	}
	return caRecord{Schema: schema.Identity.Version(), Certificate: c.cert.Raw, SealedKey: seal.seal(der, c.cert.Raw)}, nil
}
