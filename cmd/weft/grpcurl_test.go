package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/weft-net/weft/cmd/weft/internal/fabrictest"
	"github.com/weft-net/weft/proto/join"
)

// Keys that nobody needs any more do not stay in the cache; what is not ours does.
func TestSweepCache(t *testing.T) {
	f, err := fabrictest.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	creds, err := join.LoadCredentials(f.Admin)
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	now := time.Now()
	folder := func(name string, cert []byte, written time.Time) {
		dir := filepath.Join(base, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for file, b := range map[string][]byte{"cert.pem": cert, "key.pem": []byte("key")} {
			if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(filepath.Join(dir, "key.pem"), written, written); err != nil {
			t.Fatal(err)
		}
	}
	var valid time.Time
	for valid = now; creds.Valid(valid) != nil; valid = valid.Add(24 * time.Hour) {
		if valid.Sub(now) > 100*365*24*time.Hour {
			t.Fatal("the credentials are never valid")
		}
	}
	folder("0123456789ab", creds.Cert, valid.Add(-time.Hour))
	folder("1123456789ab", creds.Cert, valid.Add(-31*24*time.Hour))
	folder("2123456789ab", []byte("rubbish"), valid)
	folder("others", creds.Cert, valid.Add(-400*24*time.Hour))
	own := filepath.Join(base, "3123456789ab")
	folder("3123456789ab", creds.Cert, valid.Add(-400*24*time.Hour))
	sweepCache(base, own, valid)
	var left []string
	list, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		left = append(left, e.Name())
	}
	if !slices.Equal(left, []string{"0123456789ab", "3123456789ab", "others"}) {
		t.Errorf("left are %v", left)
	}
	sweepCache(base, own, valid.Add(100*365*24*time.Hour))
	if list, _ := os.ReadDir(base); len(list) != 2 {
		t.Errorf("after a hundred years there are %v", list)
	}
}
