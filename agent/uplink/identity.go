package uplink

import (
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
	"strings"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
)

// Files of the identity. The certificate is written last: with it, all is there.
const (
	keyName    = "key.pem"
	rootsName  = "roots.pem"
	certName   = "cert.pem"
	vtepName   = "vtep-mac"
	formerName = "former-name" // of a node that was renamed: its last intent may be of that name
	// ephemeralName is there if the node is deleted when it goes.
	ephemeralName = "ephemeral"

	pemKey  = "EC PRIVATE KEY" // SEC 1, RFC 5915
	pemCert = "CERTIFICATE"
)

// identity is who the node is to the servers. Without a certificate it has not
// joined yet.
type identity struct {
	node   string
	former string // that the certificate names; empty: it names node
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	roots  []*x509.Certificate

	ephemeral bool // by a server's word: deleted when it goes
}

// loadIdentity reads the folder, and makes the key if there is none.
func loadIdentity(dir *datadir.Dir, node string) (identity, error) {
	id := identity{node: node}
	var err error
	certs, err := readCerts(dir, certName)
	if err != nil {
		return identity{}, err
	}
	if len(certs) > 0 {
		id.cert = certs[0]
	}
	if id.cert != nil && id.cert.Subject.CommonName != node {
		id.former = id.cert.Subject.CommonName
	}
	if id.roots, err = readCerts(dir, rootsName); err != nil {
		return identity{}, err
	}
	if id.cert != nil && len(id.roots) == 0 {
		return identity{}, fmt.Errorf("uplink: %s is not there, and without it no server can be trusted; put the file back, or remove %s and join again with a token",
			dir.Path(rootsName), dir.Path(certName))
	}
	if _, err := dir.Read(ephemeralName); err == nil {
		id.ephemeral = true
	} else if !errors.Is(err, fs.ErrNotExist) {
		return identity{}, fmt.Errorf("uplink: %w", err)
	}
	if id.key, err = loadKey(dir, id.cert == nil); err != nil {
		return identity{}, err
	}
	if id.cert != nil && !id.key.PublicKey.Equal(id.cert.PublicKey) {
		return identity{}, fmt.Errorf("uplink: %s does not belong to %s: put back the key of that certificate, or remove both and join again with a token from: weft token create --node %s --replace",
			dir.Path(keyName), dir.Path(certName), node)
	}
	return id, nil
}

// formerNames are the names under which the folder's last intent may be: that of
// its certificate, and the one before a renaming.
func formerNames(dir *datadir.Dir, node string) ([]string, error) {
	certs, err := readCerts(dir, certName)
	if err != nil {
		return nil, err
	}
	if len(certs) > 0 && certs[0].Subject.CommonName != node {
		return []string{certs[0].Subject.CommonName}, nil
	}
	b, err := dir.Read(formerName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("uplink: former name: %w", err)
	}
	return []string{string(b)}, nil
}

// misnamed is the refusal of a folder that was joined under another name, when the
// servers do not know that the node was renamed to this one: its lease, its key and
// its pods' addresses belong to that name, or to the one that they tell.
func (id identity) misnamed(dir *datadir.Dir, cause, remedy string) refusedError {
	what := "the name " + id.node
	cause = fmt.Sprintf("%s belongs to node %q, not %q (%s)", dir.Path(certName), id.former, id.node, cause)
	if strings.Contains(remedy, "--node-name") { // it was renamed, and renamed again
		return refusedError{what, cause, remedy}
	}
	return refusedError{
		what:  what,
		cause: cause,
		remedy: fmt.Sprintf("to rename the node: weft rename node %s %s; else start with --node-name %s; or, to make this machine a new node: weft-agent cleanup --purge --data-dir %s, then start again with --token",
			id.former, id.node, id.former, dir.Path("")),
	}
}

func loadKey(dir *datadir.Dir, mayMake bool) (*ecdsa.PrivateKey, error) {
	b, err := dir.Read(keyName)
	if errors.Is(err, fs.ErrNotExist) && mayMake {
		return makeKey(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("uplink: %s is not there, and %s is of it: put the file back, or remove %s and join again with a token made with --replace",
			dir.Path(keyName), certName, certName)
	}
	if err != nil {
		return nil, fmt.Errorf("uplink: the node's key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != pemKey {
		return nil, fmt.Errorf("uplink: %s holds no %s: put the file back, or remove it with %s and join again with a token made with --replace",
			dir.Path(keyName), pemKey, certName)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("uplink: %s: %w", dir.Path(keyName), err)
	}
	return key, nil
}

func makeKey(dir *datadir.Dir) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("uplink: make key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("uplink: make key: %w", err)
	}
	return key, dir.Write(keyName, pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}))
}

func readCerts(dir *datadir.Dir, name string) ([]*x509.Certificate, error) {
	b, err := dir.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	var out []*x509.Certificate
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("uplink: %s: %w; put the file back, or remove it and join again", dir.Path(name), err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("uplink: %s holds no certificate; put the file back, or remove it and join again", dir.Path(name))
	}
	return out, nil
}

// request is a PKCS #10 certificate request, DER: the proof that we hold the key.
func (id identity) request() ([]byte, error) {
	tmpl := &x509.CertificateRequest{Subject: pkix.Name{CommonName: id.node}}
	der, err := x509.CreateCertificateRequest(rand.Reader, tmpl, id.key)
	if err != nil {
		return nil, fmt.Errorf("uplink: certificate request: %w", err)
	}
	return der, nil
}

// accept checks what a server signed and returns the identity with it.
func (id identity) accept(got signed) (identity, error) {
	next := identity{node: id.node, key: id.key, former: id.former, ephemeral: id.ephemeral}
	if got.ephemeral != nil {
		next.ephemeral = *got.ephemeral
	}
	var err error
	if next.cert, err = x509.ParseCertificate(got.cert); err != nil {
		return identity{}, fmt.Errorf("uplink: certificate from the server: %w", err)
	}
	if next.roots, err = parseRoots(got.roots); err != nil {
		return identity{}, fmt.Errorf("uplink: roots from the server: %w", err)
	}
	if next.cert.Subject.CommonName != id.node || !id.key.PublicKey.Equal(next.cert.PublicKey) {
		return identity{}, fmt.Errorf("uplink: the server signed a certificate for %q with another key than asked for", next.cert.Subject.CommonName)
	}
	opts := x509.VerifyOptions{Roots: next.pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: next.cert.NotBefore.Add(time.Second)}
	if _, err := next.cert.Verify(opts); err != nil {
		return identity{}, fmt.Errorf("uplink: certificate from the server: %w", err)
	}
	return next, nil
}

func (id identity) save(dir *datadir.Dir) error {
	if id.former != "" {
		if err := dir.Write(formerName, []byte(id.former)); err != nil {
			return err
		}
	}
	if err := id.saveEphemeral(dir); err != nil {
		return err
	}
	if err := dir.Write(rootsName, rootsPEM(id.roots)); err != nil {
		return err
	}
	return dir.Write(certName, pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: id.cert.Raw}))
}

func (id identity) saveEphemeral(dir *datadir.Dir) error {
	if !id.ephemeral {
		return dir.Remove(ephemeralName)
	}
	return dir.Write(ephemeralName, []byte("this node is deleted when it goes\n"))
}

func (id identity) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range id.roots {
		pool.AddCert(c)
	}
	return pool
}

// tls is the client's side of a connection to a server. Without the certificate
// only Join and Renew answer. As with a token, the address is not compared with
// the server's certificate: every holder of a server certificate of our CA is a
// server of the fabric, also behind NAT or under a new name. now is the time by
// which the server's certificate is judged.
func (id identity) tls(now func() time.Time, withCert bool) *tls.Config {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{"h2"},
		InsecureSkipVerify: true, // VerifyConnection trusts our roots only
		VerifyConnection:   func(s tls.ConnectionState) error { return id.verify(s.PeerCertificates, now()) },
	}
	if withCert {
		c.Certificates = []tls.Certificate{{Certificate: [][]byte{id.cert.Raw}, PrivateKey: id.key, Leaf: id.cert}}
	}
	return c
}

// verify judges a server. The clock of this machine may be behind, all the way to
// 1970 before it has heard of NTP: a certificate that is not valid yet was signed by
// our CA all the same, and the node's own proves that its day has come. One that has
// ended has ended: that may be a stolen one.
func (id identity) verify(chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("the server showed no certificate")
	}
	now = join.NoEarlier(now, chain[0])
	if id.cert != nil {
		now = join.NoEarlier(now, id.cert)
	}
	if err := join.Verify(chain, id.roots, x509.ExtKeyUsageServerAuth, now); err != nil {
		if clock := join.Valid(chain[0], now); clock != nil {
			return fmt.Errorf("the server's certificate: %w", clock)
		}
		return fmt.Errorf("the server's certificate is not of the fabric that this node joined: %w", err)
	}
	return nil
}

// renewAt is when two thirds of the certificate's life are over.
func (id identity) renewAt() time.Time {
	life := id.cert.NotAfter.Sub(id.cert.NotBefore)
	return id.cert.NotBefore.Add(life * 2 / 3)
}

// loadVTEP reads the MAC address of the node's VXLAN devices, and makes it at
// first: peers keep permanent entries for it, so it must outlive the device. When the
// file is damaged, what the devices carry stands: peers send to it.
func loadVTEP(dir *datadir.Dir, carried func() intent.MAC) (intent.MAC, error) {
	b, err := dir.Read(vtepName)
	if err == nil {
		mac, err := intent.ParseMAC(string(b))
		if err == nil && mac != (intent.MAC{}) {
			return mac, nil
		}
		if carried != nil && carried() != (intent.MAC{}) {
			mac = carried()
			return mac, dir.Write(vtepName, []byte(mac.String()))
		}
		// Peers learn another address as fast as this one: better than no data path.
	} else if !errors.Is(err, fs.ErrNotExist) {
		return intent.MAC{}, fmt.Errorf("uplink: VTEP MAC: %w", err)
	}
	var mac intent.MAC
	if _, err := rand.Read(mac[:]); err != nil {
		return intent.MAC{}, fmt.Errorf("uplink: VTEP MAC: %w", err)
	}
	mac[0] = mac[0]&^0x01 | 0x02 // unicast, locally administered (IEEE 802, 8.2)
	return mac, dir.Write(vtepName, []byte(mac.String()))
}
