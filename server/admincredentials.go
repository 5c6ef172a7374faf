package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/store/etcd"
)

// adminWithin bounds the making of credentials.
const adminWithin = 90 * time.Second

// AdminCredentials makes an admin's credentials on the server's machine and writes
// them to a file; empty means <data-dir>/admin.yaml. It needs no credentials: who
// can read the data folder has all there is. The server may run or not.
func AdminCredentials(ctx context.Context, c Config, name, file string) (path string, err error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, adminWithin)
	defer cancel()
	s, done, err := c.storeHere(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, done()) }()
	own := filepath.Join(c.DataDir, "admin.yaml")
	path = cmp.Or(file, own)
	made, err := identity.AdminHere(ctx, s, identity.Config{DataDir: c.DataDir, Server: c.urlHere(own), Log: c.Log}, name)
	if err != nil {
		return "", err
	}
	if err := made.Save(path); err != nil {
		return "", fmt.Errorf("server: %w", err)
	}
	return path, nil
}

// storeHere opens the server's store beside it, or in its place.
func (c Config) storeHere(ctx context.Context) (*etcd.Store, func() error, error) {
	config := etcd.Config{
		DataDir: c.DataDir, Endpoints: c.Etcd.Endpoints, CAFile: c.Etcd.CAFile, CertFile: c.Etcd.CertFile,
		KeyFile: c.Etcd.KeyFile, User: c.Etcd.User, Password: c.Etcd.Password, Log: c.Log,
	}
	if len(config.Endpoints) > 0 {
		s, err := etcd.Open(ctx, config)
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	}
	lock, err := disk.Hold(c.DataDir, "weft-server admin")
	if err != nil { // the server runs: its etcd answers on its socket
		socket, abs := filepath.Abs(filepath.Join(c.DataDir, "etcd", "client.sock"))
		if abs != nil {
			return nil, nil, fmt.Errorf("server: %w", abs)
		}
		config.Endpoints = []string{"unix://" + socket}
		s, err := etcd.Open(ctx, config)
		if err != nil {
			return nil, nil, fmt.Errorf("%w; the server that holds the folder must be ready: look at its log", err)
		}
		return s, s.Close, nil
	}
	s, err := etcd.Open(ctx, config)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w; if this is one of several servers, start it first", err), lock.Close())
	}
	return s, func() error { return errors.Join(s.Close(), lock.Close()) }, nil
}

// urlHere is where the new credentials find the server: where the old ones did, or
// what the flags say.
func (c Config) urlHere(old string) string {
	if held, err := join.LoadCredentials(old); err == nil {
		return held.Server
	}
	_, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		port = join.DefaultPort
	}
	return "https://" + net.JoinHostPort(c.names(netip.Addr{})[0], port)
}
