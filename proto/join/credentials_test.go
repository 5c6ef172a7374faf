package join

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newCredentials(t testing.TB) Credentials {
	ca := newCA(t)
	return Credentials{Server: "https://192.0.2.1:7443", User: "admin", CA: ca.certPEM(), Cert: ca.certPEM(), Key: ca.keyPEM(t)}
}

func TestCredentialsRoundTrip(t *testing.T) {
	want := newCredentials(t)
	path := filepath.Join(t.TempDir(), "admin.yaml")
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	got, err := LoadCredentials(path)
	if err != nil || got.Server != want.Server || got.Key != want.Key || !bytes.Equal(got.CA, want.CA) || !bytes.Equal(got.Cert, want.Cert) {
		t.Errorf("got %v, %v", got, err)
	}
	if text := fmt.Sprintf("%v %+v", got, got); strings.Contains(text, "PRIVATE KEY") {
		t.Error("a print tells the key")
	}
}

func TestCredentialsRefused(t *testing.T) {
	c := newCredentials(t)
	path := filepath.Join(t.TempDir(), "admin.yaml")
	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) string { return strings.Replace(string(whole), old, new, 1) }
	cases := []struct{ name, content, want string }{
		{"empty", "", "cut short"},
		{"cut in the middle", string(whole[:len(whole)/2]), "restart weft-server"},
		{"a field of another file", edit("user:", "users:"), "not the YAML"},
		{"another kind", edit("Credentials", "Config"), `kind "Config"`},
		{"http", edit("https://", "http://"), "is not https://host:port"},
		{"another key", edit("client-key-data: ", "client-key-data: AAAA"), "not a PEM certificate with its key"},
		{"too large", strings.Repeat("#", maxCredentials+1), "larger than"},
	}
	for _, c := range cases {
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadCredentials(path)
		if !strings.Contains(fmt.Sprint(err), c.want) || !strings.Contains(fmt.Sprint(err), path) {
			t.Errorf("%s: want %q and the path, got %v", c.name, c.want, err)
		}
	}
	if _, err := LoadCredentials(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

func TestCredentialsAddress(t *testing.T) {
	for server, want := range map[string]string{
		"https://192.0.2.1:7443":    "192.0.2.1:7443",
		"https://weft.example":      "weft.example:7443",
		"https://[2001:db8::1]:443": "[2001:db8::1]:443",
		"https://[2001:db8::1]":     "[2001:db8::1]:7443",
		"https://a@b":               "",
		"https://b/path":            "",
		"b:7443":                    "",
	} {
		if got, err := (Credentials{Server: server}).Address(); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: want %q, got %q, %v", server, want, got, err)
		}
	}
}

func TestCredentialsValid(t *testing.T) {
	c := newCredentials(t)
	if err := c.Valid(time.Now()); err != nil {
		t.Error(err)
	}
	for _, jump := range []time.Duration{-48 * time.Hour, 48 * time.Hour} {
		now := time.Now().Add(jump)
		if err := c.Valid(now); !strings.Contains(fmt.Sprint(err), now.UTC().Format(time.RFC3339)) {
			t.Errorf("%v: %v", jump, err)
		}
	}
}

func FuzzParseCredentials(f *testing.F) {
	path := filepath.Join(f.TempDir(), "admin.yaml")
	if err := newCredentials(f).Save(path); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("apiVersion: weft/v1\nkind: Credentials\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseCredentials(b); err == nil {
			if _, err := c.TLS(); err != nil {
				t.Errorf("accepted, but %v", err)
			}
		}
	})
}
