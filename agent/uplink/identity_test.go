package uplink

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/uplink/uplinktest"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/proto"
)

// A file of the identity that is lost, cut short or another's is named with what to
// do, and no file is touched; what can be had again is.
func TestIdentityFiles(t *testing.T) {
	const again = "join again"
	cut := func(b []byte) []byte { return b[:len(b)/2] }
	for _, c := range []struct {
		name, file string
		damage     func([]byte) []byte // nil: it is gone
		want       string              // empty: it starts
	}{
		{"key is gone", keyName, nil, again},
		{"key is cut short", keyName, cut, again},
		{"key is empty", keyName, func([]byte) []byte { return []byte{} }, again},
		{"key is another's", keyName, func([]byte) []byte { return anotherKey(t) }, "does not belong to"},
		{"certificate is cut short", certName, cut, again},
		{"certificate is empty", certName, func([]byte) []byte { return []byte{} }, again},
		{"certificate is rubbish", certName, func([]byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: []byte("x")}) }, again},
		{"certificate is gone: it joins with its key", certName, nil, ""},
		{"roots are gone", rootsName, nil, again},
		{"roots are cut short", rootsName, cut, again},
		{"servers are cut short: learned again", serversName, cut, ""},
		{"VTEP is empty: made again", vtepName, func([]byte) []byte { return nil }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "agent")
			in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
				joined(ctx, t, f, dir)
				path := filepath.Join(dir, c.file)
				good, err := os.ReadFile(path)
				if c.damage == nil {
					err = os.Remove(path)
				} else if err == nil || c.file == serversName {
					err = os.WriteFile(path, c.damage(good), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				before := files(t, dir)
				d, err := datadir.Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				_, err = New(d, config(f, "n1", nil))
				if c.want == "" && err != nil || c.want != "" && !strings.Contains(fmt.Sprint(err), c.want) {
					t.Fatalf("want %q, got %v", c.want, err)
				}
				if c.want == "" {
					return
				}
				if !strings.Contains(err.Error(), path) {
					t.Errorf("%s is not named: %v", path, err)
				}
				if after := files(t, dir); after != before {
					t.Errorf("it was touched:\n%s\n%s", before, after)
				}
			})
		})
	}
}

// files are a folder's, with their contents.
func files(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s %q\n", e.Name(), b)
	}
	return out.String()
}

func anotherKey(t *testing.T) []byte {
	t.Helper()
	d, err := datadir.Open(filepath.Join(t.TempDir(), "another"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := makeKey(d); err != nil {
		t.Fatal(err)
	}
	b, err := d.Read(keyName)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// root is a CA of a test, the same in every process: fuzzing compares what inputs
// reach.
type root struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

func newRoot(t testing.TB, name string) root {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	return root{signedCert(t, name, true, root{nil, key}, key.Public()), key}
}

// fixedKey is a node's, likewise.
func fixedKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	scalar := sha256.Sum256([]byte("node"))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// server is the chain that a server of this root shows.
func (r root) server(t testing.TB) []*x509.Certificate {
	t.Helper()
	return []*x509.Certificate{signedCert(t, "server", false, r, r.key.Public()), r.cert}
}

func signedCert(t testing.TB, name string, ca bool, by root, public any) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: ca, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent := by.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// trusting is an uplink that trusts some roots, in a folder of its own.
func trusting(t testing.TB, roots ...root) *Uplink {
	t.Helper()
	d, err := datadir.Open(filepath.Join(t.TempDir(), "agent"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	var certs []*x509.Certificate
	for _, r := range roots {
		certs = append(certs, r.cert)
	}
	if err := d.Write(rootsName, rootsPEM(certs)); err != nil {
		t.Fatal(err)
	}
	u, err := New(d, Config{Node: "n1", Servers: []string{"192.0.2.1:7443"}, Log: slog.New(slog.DiscardHandler), OnChange: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// A stream stays open over several rotations: what its server showed once is of a
// root that is long gone. Roots are taken as long as one of them is known, and none
// that would lock the node out.
func TestRootsOfALongStream(t *testing.T) {
	a, b, c, d := newRoot(t, "a"), newRoot(t, "b"), newRoot(t, "c"), newRoot(t, "d")
	shown := a.server(t)
	u := trusting(t, a)
	for _, step := range []struct {
		told  []root
		taken bool
	}{
		{[]root{b, a}, true},
		{[]root{b}, true}, // finished, and the stream is a's still
		{[]root{c, b}, true},
		{[]root{d}, false}, // of nobody whom the node knows
		{[]root{c}, true},
		{[]root{d, c}, true},
		{[]root{a}, true}, // by the server's own word: what it showed is a's
	} {
		before := hashes(u.identity().roots)
		var der [][]byte
		var want []*x509.Certificate
		for _, r := range step.told {
			der, want = append(der, r.cert.Raw), append(want, r.cert)
		}
		err := u.takeRoots(der, shown)
		if (err == nil) != step.taken {
			t.Fatalf("told %v: %v", hashes(want), err)
		}
		now := hashes(u.identity().roots)
		if step.taken && !slices.Equal(now, hashes(want)) || !step.taken && !slices.Equal(now, before) {
			t.Errorf("told %v it trusts %v", hashes(want), now)
		}
		kept, err := readCerts(u.dir, rootsName)
		if err != nil || !slices.Equal(hashes(kept), now) {
			t.Errorf("on the disk are %v, %v", hashes(kept), err)
		}
	}
}

// FuzzTrust: whatever a server says of roots, the node goes on trusting at least one,
// and the disk says the same.
func FuzzTrust(f *testing.F) {
	a, b, stranger := newRoot(f, "a"), newRoot(f, "b"), newRoot(f, "c")
	shown := a.server(f)
	for _, m := range []*weftv1.Trust{
		{Roots: [][]byte{b.cert.Raw, a.cert.Raw}, Renew: true, WithinMilli: 1000},
		{Roots: [][]byte{stranger.cert.Raw}},
		{Roots: [][]byte{a.cert.Raw[:100]}},
		{},
	} {
		seed, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	u := trusting(f, a)
	f.Fuzz(func(t *testing.T, said []byte) {
		m := &weftv1.Trust{}
		if proto.Unmarshal(said, m) != nil {
			return
		}
		u.trust(m, shown)
		now := u.identity().roots
		kept, err := readCerts(u.dir, rootsName)
		if err != nil || len(now) == 0 || !slices.Equal(hashes(kept), hashes(now)) {
			t.Fatalf("it trusts %d roots, and on the disk are %d: %v", len(now), len(kept), err)
		}
		if err := (identity{roots: now}).verify(shown, time.Now()); err != nil && !overlap(hashes(now), []string{hashes([]*x509.Certificate{a.cert})[0], hashes([]*x509.Certificate{b.cert})[0]}) {
			t.Fatalf("it has locked itself out: %v", err)
		}
	})
}

// FuzzIdentityFiles: whatever is on the disk, the node starts or says which file is
// wrong.
func FuzzIdentityFiles(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"), []byte(""), []byte("-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n"))
	r := newRoot(f, "a")
	der, err := x509.MarshalECPrivateKey(fixedKey(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rootsPEM([]*x509.Certificate{signedCert(f, "n1", false, r, &fixedKey(f).PublicKey)}), rootsPEM([]*x509.Certificate{r.cert}), pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}))
	d, err := datadir.Open(filepath.Join(f.TempDir(), "agent"))
	if err != nil {
		f.Fatal(err)
	}
	defer d.Close()
	f.Fuzz(func(t *testing.T, cert, roots, key []byte) {
		for name, b := range map[string][]byte{certName: cert, rootsName: roots, keyName: key} {
			if err := d.Write(name, b); err != nil {
				t.Fatal(err)
			}
		}
		id, err := loadIdentity(d, "n1")
		if err == nil && (id.cert == nil || id.key == nil || len(id.roots) == 0) {
			t.Errorf("accepted %+v", id)
		}
		if err != nil && !strings.Contains(err.Error(), d.Path("")) {
			t.Errorf("no file is named: %v", err)
		}
	})
}

// FuzzAccept: whatever a server signs, only a certificate of this node, under this
// key, by the roots that came along, becomes its identity.
func FuzzAccept(f *testing.F) {
	r := newRoot(f, "a")
	key := fixedKey(f)
	f.Add(signedCert(f, "n1", false, r, &key.PublicKey).Raw, r.cert.Raw)
	f.Add(r.cert.Raw, r.cert.Raw)
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, cert, root []byte) {
		id, err := identity{node: "n1", key: key}.accept(signed{cert: cert, roots: [][]byte{root}})
		if err == nil && (id.cert.Subject.CommonName != "n1" || !key.PublicKey.Equal(id.cert.PublicKey) || len(id.roots) != 1) {
			t.Errorf("accepted %+v", id)
		}
	})
}
