package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/proto/join"
)

func (c *cli) grpcurlCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "grpcurl-flags",
		Short: "Print the flags with which grpcurl asks a server",
		Long: "Print the flags with which grpcurl asks a server, on one line. Certificate and key are\n" +
			"written below $XDG_CACHE_HOME/weft (~/.cache/weft), readable by you alone; what was written\n" +
			"there for others is removed when its certificate has ended, or after 30 days.",
		Example: "  grpcurl $(weft grpcurl-flags) 198.51.100.10:7443 list",
		GroupID: groupTool,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			creds, err := c.credentials()
			if err != nil {
				return err
			}
			dir, err := c.cacheDir(creds)
			if err != nil {
				return err
			}
			sweepCache(filepath.Dir(dir), dir, c.now())
			if err := writePEM(dir, creds); err != nil {
				return err
			}
			return c.printf("-cacert %[1]s/ca.pem -cert %[1]s/cert.pem -key %[1]s/key.pem\n", dir)
		},
	}
}

// cacheLife is how long a key stays in the cache that nobody has asked for again.
const cacheLife = 30 * 24 * time.Hour

// sweepCache removes the folders of other credentials that are of no use any more, as
// far as it can: they are made again when they are asked for.
func sweepCache(base, own string, now time.Time) {
	dirs, _ := os.ReadDir(base)
	for _, d := range dirs {
		path := filepath.Join(base, d.Name())
		if _, err := hex.DecodeString(d.Name()); err != nil || !d.IsDir() || len(d.Name()) != cacheName || path == own {
			continue // not ours
		}
		cert, err := os.ReadFile(filepath.Join(path, "cert.pem"))
		written, missing := os.Stat(filepath.Join(path, "key.pem"))
		ended := err == nil && join.Credentials{Cert: cert}.Valid(now) != nil
		if ended || missing == nil && now.Sub(written.ModTime()) > cacheLife {
			_ = os.RemoveAll(path)
		}
	}
}

// cacheName is how many characters the name of such a folder has.
const cacheName = 12

// cacheDir is a folder of its own for each user of each fabric, named by the key: a
// renewed certificate takes the place of the one before.
func (c *cli) cacheDir(creds join.Credentials) (string, error) {
	base := c.env("XDG_CACHE_HOME")
	if home := c.env("HOME"); base == "" && home != "" {
		base = filepath.Join(home, ".cache")
	}
	if !filepath.IsAbs(base) {
		return "", errors.New("where to write the key? set HOME or XDG_CACHE_HOME to a folder")
	}
	sum := sha256.Sum256([]byte(creds.Key.Reveal()))
	dir := filepath.Join(base, "weft", hex.EncodeToString(sum[:cacheName/2]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("folder for the key: %w", err)
	}
	return dir, nil
}
