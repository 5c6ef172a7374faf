package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/join"
)

// keeping says where new credentials go: to a file, to a folder of PEM files for a
// program that knows nothing of weft, or, with neither, to the output.
type keeping struct {
	out string
	dir string
}

func (k *keeping) flags(f *pflag.FlagSet) {
	f.StringVarP(&k.out, "output", "o", "", "write the credentials to this file, 0600 (default: print them; your own: in place)")
	f.StringVar(&k.dir, "pem", "", "write ca.pem, cert.pem and key.pem, 0600, into this folder instead, for programs such as kube-apiserver")
}

// writable refuses before a server is asked what could not be written afterwards.
func (k keeping) writable() error {
	switch {
	case k.out != "" && k.dir != "":
		return errors.New("--output and --pem are both given; give one of them")
	case k.out != "":
		return writable(k.out)
	case k.dir == "":
		return nil
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("--pem: %w; no server was asked", err)
	}
	return writable(filepath.Join(k.dir, "key.pem"))
}

// keep writes credentials where they go. shown is what is said when they are
// printed, what the beginning of what is said when they are not.
func (c *cli) keep(made join.Credentials, k keeping, shown, what string) error {
	switch {
	case k.dir != "":
		if err := writePEM(k.dir, made); err != nil {
			return err
		}
		return c.printf("%s, in %s\n", what, k.dir)
	case k.out != "":
		if err := made.Save(k.out); err != nil {
			return err
		}
		return c.printf("%s, in %s\n", what, k.out)
	}
	b, err := made.Marshal()
	if err != nil {
		return err
	}
	c.say("%s", shown)
	return c.print(b)
}

// writePEM writes credentials as files of PEM (RFC 7468), the key first: a
// certificate without its key is worse than the pair from before.
func writePEM(dir string, made join.Credentials) error {
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{"key.pem", []byte(made.Key.Reveal())}, {"cert.pem", made.Cert}, {"ca.pem", made.CA},
	} {
		if err := disk.WriteFile(filepath.Join(dir, f.name), f.content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
