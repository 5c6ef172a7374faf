package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func dialed(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := Dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestExternalConforms(t *testing.T) {
	dir := t.TempDir()
	endpoint := "unix://" + filepath.Join(dir, "c.sock")
	child(t, dir, endpoint, "")
	storetest.Conform(t, func(t *testing.T) store.Store { return dialed(t, Config{Endpoints: []string{endpoint}}) })
}

func TestDebianConforms(t *testing.T) {
	endpoint := debian(t) // 3.4, the oldest that is still about
	storetest.Conform(t, func(t *testing.T) store.Store {
		return dialed(t, Config{Endpoints: []string{endpoint}, Timeout: 20 * time.Second})
	})
}

// One endpoint of several that does not answer is no reason not to start.
func TestDialWithOneEndpointAway(t *testing.T) {
	dir := t.TempDir()
	endpoint := "unix://" + filepath.Join(dir, "c.sock")
	child(t, dir, endpoint, "")
	s := dialed(t, Config{Endpoints: []string{"unix://" + filepath.Join(dir, "none.sock"), endpoint}})
	if _, err := s.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: "/a", Value: []byte("1")}}}); err != nil {
		t.Error(err)
	}
}

func TestTLSAndUserConform(t *testing.T) {
	pki := newPKI(t)
	address := freePort(t)
	endpoint := "https://" + address
	child(t, t.TempDir(), endpoint, pki)
	good := Config{
		Endpoints: []string{endpoint}, CAFile: filepath.Join(pki, "ca.crt"),
		CertFile: filepath.Join(pki, "client.crt"), KeyFile: filepath.Join(pki, "client.key"),
		User: "weft", Password: "s3cret",
	}
	admin := good
	admin.User, admin.Password = "", ""
	addUsers(t, dialed(t, admin).client)
	t.Run("refusals", func(t *testing.T) { refusals(t, good) })
	root := good
	root.User, root.Password = "root", "toor"
	storetest.Conform(t, func(t *testing.T) store.Store { return compacter{dialed(t, good), dialed(t, root)} })
	t.Run("campaign", func(t *testing.T) {
		c := candidate(t, dialed(t, good), "a")
		<-c.elected
		c.stop()
	})
	t.Run("status", func(t *testing.T) {
		if s, err := dialed(t, good).Status(t.Context()); err != nil || s.Mode != "external" || s.Members != 1 {
			t.Errorf("got %+v, %v", s, err)
		}
		dead := good
		dead.Endpoints = []string{"https://127.0.0.1:1", endpoint} // nobody listens at the first
		if s, err := dialed(t, dead).Status(t.Context()); err != nil || s.Members != 1 {
			t.Errorf("with a dead member: %+v, %v", s, err)
		}
	})
}

// compacter leaves compaction to root: it is none of weft's rights.
type compacter struct {
	*Store
	root *Store
}

func (c compacter) Compact(ctx context.Context, revision int64) error {
	return c.root.Compact(ctx, revision)
}

// addUsers makes root and weft, who may touch what is below /weft/v1/.
func addUsers(t *testing.T, c *clientv3.Client) {
	t.Helper()
	_, err := c.UserAdd(t.Context(), "root", "toor")
	step := func(next func() error) {
		if err == nil {
			err = next()
		}
	}
	step(func() error { _, err := c.UserGrantRole(t.Context(), "root", "root"); return err })
	step(func() error { _, err := c.RoleAdd(t.Context(), "weft"); return err })
	step(func() error {
		_, err := c.RoleGrantPermission(t.Context(), "weft", store.Root, clientv3.GetPrefixRangeEnd(store.Root), clientv3.PermissionType(clientv3.PermReadWrite))
		return err
	})
	step(func() error { _, err := c.UserAdd(t.Context(), "weft", "s3cret"); return err })
	step(func() error { _, err := c.UserAdd(t.Context(), "guest", "s3cret"); return err })
	step(func() error { _, err := c.UserGrantRole(t.Context(), "weft", "weft"); return err })
	step(func() error { _, err := c.AuthEnable(t.Context()); return err })
	if err != nil {
		t.Fatal(err)
	}
}

func refusals(t *testing.T, good Config) {
	other := newPKI(t)
	cases := []struct {
		name string
		edit func(*Config)
		want string
	}{
		{"another CA", func(c *Config) { c.CAFile = filepath.Join(other, "ca.crt") }, "--etcd-cafile"},
		{"no certificate", func(c *Config) { c.CertFile, c.KeyFile = "", "" }, "--etcd-certfile"},
		{"a wrong password", func(c *Config) { c.Password = "wrong" }, "--etcd-password-file"},
		{"no user", func(c *Config) { c.User, c.Password = "", "" }, "set --etcd-user"},
		{"a user without rights", func(c *Config) { c.User = "guest" }, "readwrite /weft/v1/"},
		{"a password without a user", func(c *Config) { c.User = "" }, "go together"},
		{"a key without a certificate", func(c *Config) { c.CertFile = "" }, "go together"},
		{"an absent CA file", func(c *Config) { c.CAFile = "/nowhere" }, "--etcd-cafile"},
		{"a CA file without a CA", func(c *Config) { c.CAFile = c.KeyFile }, "holds no PEM certificate"},
		{"a certificate that is a key", func(c *Config) { c.CertFile = c.KeyFile }, "--etcd-certfile"},
		{"no scheme", func(c *Config) { c.Endpoints = []string{"127.0.0.1:2379"} }, "is not https://host:port"},
		{"mixed schemes", func(c *Config) { c.Endpoints = append([]string{"http://127.0.0.1:1"}, c.Endpoints...) }, "make all of them https"},
		{"TLS files for http", func(c *Config) { c.Endpoints = []string{"http://127.0.0.1:1"} }, "are not https"},
		{"nobody there", func(c *Config) { c.Endpoints = []string{"https://" + freePort(t)} }, "connection refused"},
	}
	for _, c := range cases {
		config := good
		c.edit(&config)
		s, err := Dial(t.Context(), config)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: was taken", c.name)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: want %q, got %v", c.name, c.want, err)
		}
	}
}

// A watch goes on over the death and return of the server, and loses nothing.
func TestWatchOutlivesTheServer(t *testing.T) {
	dir := t.TempDir()
	endpoint := "unix://" + filepath.Join(dir, "c.sock")
	p := child(t, dir, endpoint, "")
	s := dialed(t, Config{Endpoints: []string{endpoint}, Timeout: 2 * time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	values, done := make(chan string, 10), make(chan error, 1)
	go func() {
		done <- s.Watch(ctx, "/a", 1, func(b store.Batch) error {
			for _, e := range b.Events {
				values <- string(e.Value)
			}
			return nil
		})
	}()
	for i, want := range []string{"1", "2"} {
		if i > 0 {
			p.kill()
			if _, err := s.Get(t.Context(), "/a"); err == nil || !strings.Contains(err.Error(), "does not answer") {
				t.Errorf("without a server: %v", err)
			}
			p.start(t)
		}
		if _, err := s.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: "/a", Value: []byte(want)}}}); err != nil {
			t.Fatal(err)
		}
		if got := <-values; got != want {
			t.Errorf("want %s, got %s", want, got)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// newPKI writes a CA with a server's and a client's certificate into a folder.
func newPKI(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	now := time.Now()
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca, caKey := writePair(t, filepath.Join(dir, "ca"), template, nil, nil)
	template.IsCA, template.KeyUsage, template.Subject.CommonName = false, x509.KeyUsageDigitalSignature, ""
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	writePair(t, filepath.Join(dir, "server"), template, ca, caKey)
	writePair(t, filepath.Join(dir, "client"), template, ca, caKey)
	return dir
}

func writePair(t *testing.T, path string, template x509.Certificate, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, by = &template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path+name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}
