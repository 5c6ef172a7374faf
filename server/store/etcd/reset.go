package etcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// Aside is where a folder of etcd goes before it is replaced.
func Aside(dataDir string, now time.Time) string {
	return filepath.Join(dataDir, "etcd-aside-"+now.UTC().Format("20060102T150405Z"))
}

// Reset makes the embedded member the only one of its cluster, from its own data,
// and leaves a copy of the folder aside. Whoever calls it has made sure that no
// other member is alive: two that live apart would be two fabrics.
func Reset(ctx context.Context, c Config) (s *Store, aside string, err error) {
	dir := filepath.Join(c.DataDir, "etcd")
	if _, err := os.Stat(filepath.Join(dir, "member")); errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("etcd: %s holds no data to reset; a server without data joins with --server, or starts a fabric with --cluster-init", dir)
	}
	aside = Aside(c.DataDir, time.Now())
	if err := copyTree(filepath.Join(dir, "member"), filepath.Join(aside, "member")); err != nil {
		return nil, "", fmt.Errorf("etcd: copy %s aside: %w; nothing was changed, make room on its disk", dir, err)
	}
	s, err = open(ctx, c, func(config *embed.Config) { config.ForceNewCluster = true })
	return s, aside, err
}

// Fresh moves an embedded member's data aside, if there is any, and starts an
// empty one, alone.
func Fresh(ctx context.Context, c Config) (s *Store, aside string, err error) {
	dir := filepath.Join(c.DataDir, "etcd")
	if _, err := os.Stat(filepath.Join(dir, "member")); err == nil {
		aside = Aside(c.DataDir, time.Now())
		if err := os.Rename(dir, aside); err != nil {
			return nil, "", fmt.Errorf("etcd: move %s aside: %w", dir, err)
		}
	}
	s, err = Embed(ctx, c)
	return s, aside, err
}

// copyTree copies files and folders, 0600 and 0700, to the disk.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := out.ReadFrom(in); err != nil {
		return err
	}
	return out.Sync()
}
