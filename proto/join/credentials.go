package join

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/note"
	"sigs.k8s.io/yaml"
)

const (
	credentialsVersion = "weft/v1"
	credentialsKind    = "Credentials"
	maxCredentials     = 1 << 20 // bytes read of a credentials file
)

// Credentials are what an operator's tools need to reach a fabric.
type Credentials struct {
	Server string      // https://host:port
	Others []string    // further servers, tried in turn when it does not answer
	User   string      // the name in the certificate
	CA     []byte      // PEM, one certificate or several
	Cert   []byte      // PEM
	Key    note.Secret // PEM
}

// file is Credentials as YAML, in the words of a kubeconfig. encoding/json
// carries bytes as base64.
type file struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Server     string `json:"server"`
	// Others is left out where there is one server: a release that knew no more
	// refuses the field.
	Others []string `json:"further-servers,omitempty"`
	User   string   `json:"user"`
	CA     []byte   `json:"certificate-authority-data"`
	Cert   []byte   `json:"client-certificate-data"`
	Key    []byte   `json:"client-key-data"`
}

// LoadCredentials reads a credentials file. Absence is fs.ErrNotExist.
func LoadCredentials(path string) (Credentials, error) {
	f, err := os.Open(path)
	if err != nil {
		return Credentials{}, fmt.Errorf("join: credentials: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCredentials+1))
	if err != nil {
		return Credentials{}, fmt.Errorf("join: credentials: %w", err)
	}
	c, err := ParseCredentials(b)
	if err != nil {
		return Credentials{}, fmt.Errorf("%s: %w; get a good copy, or on a server move it away and restart weft-server, which writes a new admin.yaml", path, err)
	}
	return c, nil
}

// ParseCredentials reads the content of a credentials file, and checks that its
// parts fit together.
func ParseCredentials(b []byte) (Credentials, error) {
	if len(b) > maxCredentials {
		return Credentials{}, fmt.Errorf("join: credentials are larger than %d bytes", maxCredentials)
	}
	var f file
	if err := yaml.UnmarshalStrict(b, &f); err != nil {
		return Credentials{}, errors.New("join: credentials are not the YAML that they should be: cut short, edited, or another file")
	}
	if f.APIVersion != credentialsVersion || f.Kind != credentialsKind {
		return Credentials{}, fmt.Errorf("join: credentials have apiVersion %.40q and kind %.40q, not %s and %s: cut short, or another file",
			f.APIVersion, f.Kind, credentialsVersion, credentialsKind)
	}
	c := Credentials{Server: f.Server, Others: f.Others, User: f.User, CA: f.CA, Cert: f.Cert, Key: note.Secret(f.Key)}
	if _, err := c.Addresses(); err != nil {
		return Credentials{}, err
	}
	if _, err := c.TLS(); err != nil {
		return Credentials{}, err
	}
	return c, nil
}

// Save writes the credentials to a file, 0600.
func (c Credentials) Save(path string) error {
	b, err := c.Marshal()
	if err != nil {
		return err
	}
	return disk.WriteFile(path, b, 0o600)
}

// PrivateKey is the key itself.
func (c Credentials) PrivateKey() (crypto.PrivateKey, error) {
	pair, err := tls.X509KeyPair(c.Cert, []byte(c.Key.Reveal()))
	if err != nil {
		return nil, errors.New("join: credentials: client-certificate-data and client-key-data are not a PEM certificate with its key")
	}
	return pair.PrivateKey, nil
}

// Marshal is the content of a credentials file. It holds the key.
func (c Credentials) Marshal() ([]byte, error) {
	b, err := yaml.Marshal(file{
		APIVersion: credentialsVersion, Kind: credentialsKind,
		Server: c.Server, Others: c.Others, User: c.User, CA: c.CA, Cert: c.Cert, Key: []byte(c.Key.Reveal()),
	})
	if err != nil {
		return nil, fmt.Errorf("join: credentials: %w", err)
	}
	return b, nil
}

// Address is host:port of the first server to dial.
func (c Credentials) Address() (string, error) { return addressOf(c.Server) }

// Addresses are host:port of all servers, in the order in which to dial them.
func (c Credentials) Addresses() ([]string, error) {
	var out []string
	for _, s := range append([]string{c.Server}, c.Others...) {
		at, err := addressOf(s)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	return out, nil
}

func addressOf(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || (u.Path != "" && u.Path != "/") || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("join: credentials: server %.80q is not https://host:port", server)
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), DefaultPort), nil
	}
	return net.JoinHostPort(u.Hostname(), u.Port()), nil
}

// DefaultPort is the server's, TCP.
const DefaultPort = "7443"

// TLS is how to dial the server with these credentials.
func (c Credentials) TLS() (*tls.Config, error) {
	roots, err := c.Roots()
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(c.Cert, []byte(c.Key.Reveal()))
	if err != nil {
		return nil, errors.New("join: credentials: client-certificate-data and client-key-data are not a PEM certificate with its key")
	}
	addresses, err := c.Addresses()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}}
	config.InsecureSkipVerify = true // VerifyConnection does all of it, and follows a rotation of the CA
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if err := Verify(s.PeerCertificates, roots, x509.ExtKeyUsageServerAuth, time.Now()); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
		}
		return named(s.PeerCertificates[0], s.ServerName, addresses)
	}
	return config, nil
}

// named says whether a certificate is of the server that was dialled: the one that
// SNI names (RFC 6066, section 3), which has no addresses, or one of a list.
func named(c *x509.Certificate, sni string, addresses []string) error {
	if sni != "" {
		return c.VerifyHostname(sni)
	}
	var errs []error
	for _, a := range addresses {
		host, _, _ := net.SplitHostPort(a)
		err := c.VerifyHostname(host)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Roots are the CAs to trust.
func (c Credentials) Roots() ([]*x509.Certificate, error) {
	var roots []*x509.Certificate
	for block, rest := pem.Decode(c.CA); block != nil; block, rest = pem.Decode(rest) {
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("join: credentials: certificate-authority-data: %w", err)
		}
		roots = append(roots, root)
	}
	if len(roots) == 0 {
		return nil, errors.New("join: credentials: certificate-authority-data holds no PEM certificate")
	}
	return roots, nil
}

// Valid says whether the certificate is valid at a time, and if not, why. A
// server that refuses it can only answer with a TLS alert.
func (c Credentials) Valid(now time.Time) error {
	block, _ := pem.Decode(c.Cert)
	if block == nil {
		return errors.New("join: credentials: client-certificate-data holds no PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("join: credentials: client-certificate-data: %w", err)
	}
	if err := Valid(cert, now); err != nil {
		return fmt.Errorf("join: credentials: the certificate of %s: %w", c.User, err)
	}
	return nil
}
