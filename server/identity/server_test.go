package identity

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/server/store/storetest"
)

func TestServerCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := mustOpen(t, storetest.New(), t.TempDir())
		first, err := a.serverCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"localhost", "127.0.0.1", "::1", "192.0.2.1", "weft.example"} {
			if err := first.Leaf.VerifyHostname(name); err != nil {
				t.Error(err)
			}
		}
		if _, err := first.Leaf.Verify(x509.VerifyOptions{Roots: a.roots().pool()}); err != nil {
			t.Error(err)
		}
		time.Sleep(serverLife - renewBefore + time.Minute)
		if next, err := a.serverCertificate(nil); err != nil || next.Leaf.SerialNumber.Cmp(first.Leaf.SerialNumber) == 0 {
			t.Errorf("not renewed: %v", err)
		}
	})
}

func TestServerNames(t *testing.T) {
	cases := []struct {
		names     []string
		dns       []string
		addresses []net.IP
		want      string
	}{
		{[]string{"Weft.Example.", "*.weft.example", "weft.example"}, []string{"weft.example", "*.weft.example"}, nil, ""},
		{[]string{"2001:db8::1", "[2001:db8::1]", "0.0.0.0", "::"}, nil, []net.IP{net.ParseIP("2001:db8::1")}, ""},
		{[]string{"weft_server"}, nil, nil, "--tls-san"},
		{[]string{"10.0.0.1/24"}, nil, nil, "--tls-san"},
	}
	for _, c := range cases {
		var s serverCert
		err := s.setNames(c.names)
		if (err == nil) != (c.want == "") || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%v: want %q, got %v", c.names, c.want, err)
		}
		for _, name := range c.dns {
			if !slices.Contains(s.names, name) {
				t.Errorf("%v: %s is not among %v", c.names, name, s.names)
			}
		}
		for _, ip := range c.addresses {
			if n := slices.IndexFunc(s.addresses, ip.Equal); n < 0 || len(s.addresses) != 3 {
				t.Errorf("%v: addresses %v", c.names, s.addresses)
			}
		}
	}
}

// A second server of the fabric has a data folder of its own, with the first
// one's server.key in it.
func TestSecondServer(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	key, err := os.ReadFile(filepath.Join(f.dir, serverKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, serverKeyFile), key, 0o600); err != nil {
		t.Fatal(err)
	}
	second := newFabric(t, f.store, Config{DataDir: dir})
	n1 := f.mustJoin(newMachine(t, "n1"), f.agentToken())
	second.caughtUp()
	if _, name, err := second.sync(second.as(n1)); err != nil || name != "n1" {
		t.Errorf("the second server knows it as %q: %v", name, err)
	}
	if err := f.Revoke(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	second.caughtUp()
	if _, _, err := second.sync(second.as(n1)); err == nil {
		t.Error("revoked at the first, good at the second")
	}
	f.caughtUp()
	for name, c := range map[string]*fabric{"first": f, "second": second} {
		if err := calls["tokens"](t, f.dial(c.admin())); !strings.Contains(fmt.Sprint(err), "not implemented") {
			t.Errorf("credentials of the %s server at the first: %v", name, err)
		}
	}
}

func TestTwoFirstServersAtOnce(t *testing.T) {
	m := storetest.New()
	dirs := []string{t.TempDir(), t.TempDir()}
	winner := mustOpen(t, m, dirs[0])
	// The second found no CA, and loses the race to store its own.
	key := filepath.Join(dirs[1], serverKeyFile)
	if _, err := makeServerKey(key); err != nil {
		t.Fatal(err)
	}
	if _, err := openCA(t.Context(), m, key); err == nil || !strings.Contains(err.Error(), "does not open the CA") {
		t.Errorf("with a key of its own: %v", err)
	}
	if again, err := openCA(t.Context(), m, filepath.Join(dirs[0], serverKeyFile)); err != nil || again.hash != winner.roots().issuing.hash {
		t.Errorf("with the winner's: %v", err)
	}
}
