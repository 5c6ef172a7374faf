package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/server/store"
)

const caKey = store.Identity + "ca"

// ca is the fabric's certificate authority.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	hash string // what tokens pin
}

// caRecord is the CA as it is stored.
type caRecord struct {
	Schema      int    `json:"schema"`
	Certificate []byte `json:"certificate"` // X.509, DER
	SealedKey   []byte `json:"sealedKey"`   // PKCS #8, DER, sealed with server.key

	Old       []oldRecord `json:"old,omitempty"`       // that signed before, the newest first
	SinceUnix int64       `json:"sinceUnix,omitempty"` // when it took over from them
}

// openCA reads the CA, or makes it if the store has none. Two servers that start
// at once agree: the one that was first wins.
func openCA(ctx context.Context, s store.Store, keyPath string) (ca, error) {
	entry, err := s.Get(ctx, caKey)
	switch {
	case err == nil:
		return loadCA(entry, keyPath)
	case !errors.Is(err, store.ErrNotFound):
		return ca{}, fmt.Errorf("identity: read the CA: %w", err)
	}
	seal, err := loadServerKey(keyPath)
	if errors.Is(err, fs.ErrNotExist) {
		seal, err = makeServerKey(keyPath)
	}
	if err != nil {
		return ca{}, err
	}
	made, err := makeCA(time.Now())
	if err != nil {
		return ca{}, err
	}
	value, err := made.encode(seal)
	if err != nil {
		return ca{}, err
	}
	_, err = s.Commit(ctx, store.Txn{If: []store.Cond{{Key: caKey}}, Then: []store.Write{{Key: caKey, Value: value}}})
	if errors.Is(err, store.ErrConflict) {
		return openCA(ctx, s, keyPath)
	}
	if err != nil {
		return ca{}, fmt.Errorf("identity: store the CA: %w", err)
	}
	return made, nil
}

func loadCA(entry store.Entry, keyPath string) (ca, error) {
	var r caRecord
	if err := json.Unmarshal(entry.Value, &r); err != nil {
		return ca{}, fmt.Errorf("identity: the CA in the store (%s) cannot be read: %w; restore the store from a backup", entry.Key, err)
	}
	if err := readable(entry.Key, r.Schema); err != nil {
		return ca{}, err
	}
	cert, err := x509.ParseCertificate(r.Certificate)
	if err != nil {
		return ca{}, fmt.Errorf("identity: the CA in the store (%s): %w; restore the store from a backup", entry.Key, err)
	}
	seal, err := loadServerKey(keyPath)
	if errors.Is(err, fs.ErrNotExist) {
		return ca{}, fmt.Errorf("identity: %s is not there, and the CA in the store is sealed with it: copy it from a backup or from another server of this fabric; "+
			"or, if this server should start a fabric of its own, give it another store (--data-dir, --etcd-endpoints)", keyPath)
	}
	if err != nil {
		return ca{}, err
	}
	der, err := seal.open(r.SealedKey, r.Certificate)
	if err != nil {
		return ca{}, fmt.Errorf("identity: %s does not open the CA in the store: it is of another fabric; copy the file from a backup or from another server of this fabric, or look whether the store is the right one (--etcd-endpoints)", keyPath)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return ca{}, fmt.Errorf("identity: the CA's key: %w", err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(cert.PublicKey) {
		return ca{}, fmt.Errorf("identity: the CA's key in the store (%s) does not belong to its certificate; restore the store from a backup", entry.Key)
	}
	if err := join.Valid(cert, time.Now()); err != nil {
		return ca{}, fmt.Errorf("identity: the CA's certificate: %w", err)
	}
	return ca{cert: cert, key: signer, hash: join.Hash(cert)}, nil
}

func makeCA(now time.Time) (ca, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return ca{}, fmt.Errorf("identity: make the CA: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "weft fabric CA"},
		NotBefore:             now.Add(-maxBackdate),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
		// No bound on the path: the next CA is below this one, for those who know no other.
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return ca{}, fmt.Errorf("identity: make the CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return ca{}, fmt.Errorf("identity: make the CA: %w", err)
	}
	return ca{cert: cert, key: key, hash: join.Hash(cert)}, nil
}

func (c ca) encode(seal serverKey) ([]byte, error) { return (&roots{issuing: c}).encode(seal) }

// sign fills in what every certificate has: a serial, a life from a little before
// now on, and our signature. No certificate outlives the CA.
func (c ca) sign(now time.Time, template x509.Certificate, public any, life time.Duration) (*x509.Certificate, error) {
	template.SerialNumber = serial()
	template.NotBefore = now.Add(-backdate(life))
	template.NotAfter = now.Add(life)
	if template.NotAfter.After(c.cert.NotAfter) {
		template.NotAfter = c.cert.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, &template, c.cert, public, c.key)
	if err != nil {
		return nil, fmt.Errorf("identity: sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// serial is random, 128 bits: serials need not be counted by several servers.
func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[0] &= 0x7f        // positive in DER (RFC 5280, 4.1.2.2)
	return new(big.Int).SetBytes(b)
}
