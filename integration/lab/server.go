package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Stores that a fabric can stand on.
const (
	StoreEmbedded = "embedded" // an etcd member in each server
	StoreEtcd     = "etcd"     // members on hosts of their own, started with StartEtcd
)

// Releases that Use takes, with their folders below that of the binaries: the
// previous one, one whose state has a newer schema, an agent of several later.
const (
	ThisRelease = "new"
	OldRelease  = "old"
	NextRelease = "next"
	FarRelease  = "far"
)

// Use says of which release the processes, pods and commands are that start from
// now on.
func (f *Fabric) Use(release string) error {
	folder := filepath.Join(f.bin, release)
	switch release {
	case ThisRelease:
		folder = f.bin
	case OldRelease, NextRelease, FarRelease:
	default:
		return fmt.Errorf("lab: no release %q: new, old, next or far", release)
	}
	if _, err := os.Stat(folder); err != nil {
		return fmt.Errorf("lab: %w: run make releases first, or make test, which does", err)
	}
	f.Bin, f.alone = folder, release == OldRelease
	return nil
}

// url is where a server listens.
func (f *Fabric) url(h *Host) string {
	return "https://" + net.JoinHostPort(f.NodeIPs(h)[0], "7443")
}

// urls are all servers, as agents take them.
func (f *Fabric) urls() []string {
	var out []string
	for _, h := range f.Servers {
		out = append(out, f.url(h))
	}
	return out
}

// DataDir is the --data-dir of the server on a host.
func (f *Fabric) DataDir(h *Host) string { return filepath.Join(h.Dir(), "data") }

// ServerDir is the --data-dir of the server on s1.
func (f *Fabric) ServerDir() string { return f.DataDir(f.Server) }

// StartServer starts weft-server on s1 and returns when it is ready.
func (f *Fabric) StartServer(ctx context.Context, args ...string) error {
	return f.StartServerOn(ctx, f.Server, args...)
}

// StartServerOn starts weft-server on a host and returns when it is ready. Where
// the layout has several servers, s1 is the first of them and the others join it
// with its server token; each is told so at every start, as a unit file would.
func (f *Fabric) StartServerOn(ctx context.Context, h *Host, args ...string) error {
	p, err := f.LaunchServer(h, args...)
	if err != nil {
		return err
	}
	return p.Ready(ctx)
}

// LaunchServer starts weft-server on a host and does not wait: a cluster that was
// down as a whole is ready only once most of it runs.
func (f *Fabric) LaunchServer(h *Host, args ...string) (*Process, error) {
	all := append([]string{
		"weft-server",
		"--data-dir", f.DataDir(h), "--listen", "[::]:7443", "--node-ip", strings.Join(f.NodeIPs(h), ","),
		"--cluster-cidr", f.Layout.CIDRs,
	}, f.cluster(h)...)
	p, err := h.startNotify("weft-server", append(all, args...)...)
	if err == nil {
		f.ServerProcesses[h.Name] = p
	}
	return p, err
}

// cluster are the flags by which a server is one of several.
func (f *Fabric) cluster(h *Host) []string {
	var args []string
	if f.Layout.Store == StoreEtcd {
		args = append(args, "--etcd-endpoints", strings.Join(f.etcdURLs(), ","))
	}
	switch {
	case f.alone:
	case h != f.Server:
		args = append(args, "--server", f.url(f.Server), "--token-file", filepath.Join(f.ServerDir(), "server-token"))
	case len(f.Servers) > 1 && f.Layout.Store == StoreEmbedded:
		args = append(args, "--cluster-init")
	}
	return args
}

// etcdURLs are where the members of the external etcd listen.
func (f *Fabric) etcdURLs() []string {
	var out []string
	for _, h := range f.Etcds {
		out = append(out, "http://"+net.JoinHostPort(f.NodeIPs(h)[0], "2379"))
	}
	return out
}

// LaunchEtcd starts a member of the external etcd and does not wait.
func (f *Fabric) LaunchEtcd(h *Host) error {
	peer := func(h *Host) string { return "http://" + net.JoinHostPort(f.NodeIPs(h)[0], "2380") }
	client := "http://" + net.JoinHostPort(f.NodeIPs(h)[0], "2379")
	var members []string
	for _, e := range f.Etcds {
		members = append(members, e.Name+"="+peer(e))
	}
	p, err := h.Start("etcd", "etcd", "--name", h.Name, "--data-dir", filepath.Join(h.Dir(), "etcd"),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer(h), "--initial-advertise-peer-urls", peer(h),
		"--initial-cluster", strings.Join(members, ","), "--log-level", "warn")
	if err == nil {
		f.EtcdProcesses[h.Name] = p
	}
	return err
}

// StartEtcd starts all members of the external etcd and returns when they answer.
func (f *Fabric) StartEtcd(ctx context.Context) error {
	for _, h := range f.Etcds {
		if err := f.LaunchEtcd(h); err != nil {
			return err
		}
	}
	return Until(ctx, "etcd answers", func() (string, error) {
		return f.Server.Run(ctx, "etcdctl", "--endpoints", strings.Join(f.etcdURLs(), ","), "endpoint", "health")
	})
}

// Weft runs the operator's CLI on the first server that runs.
func (f *Fabric) Weft(ctx context.Context, args ...string) (string, error) {
	for _, h := range f.Servers {
		if p := f.ServerProcesses[h.Name]; p != nil && p.Running() {
			return f.WeftOn(ctx, h, args...)
		}
	}
	return f.WeftOn(ctx, f.Server, args...)
}

// WeftOn runs the operator's CLI on a server, with the credentials that this
// server wrote.
func (f *Fabric) WeftOn(ctx context.Context, h *Host, args ...string) (string, error) {
	return h.Run(ctx, append([]string{"weft", "--config", filepath.Join(f.DataDir(h), "admin.yaml")}, args...)...)
}

var leaderLine = regexp.MustCompile(`(?m)^(\S+) .*\bleader\b`)

// Leader is the server that leads, by weft server list.
func (f *Fabric) Leader(ctx context.Context) (*Host, error) {
	out, err := f.Weft(ctx, "server", "list")
	if err != nil {
		return nil, err
	}
	m := leaderLine.FindStringSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("lab: no server leads:\n%s", out)
	}
	h, ok := f.Find(m[1])
	if !ok {
		return nil, fmt.Errorf("lab: %q leads, which is none of ours:\n%s", m[1], out)
	}
	return h, nil
}

// ErrNotYet is for questions to Until that have an answer, which is not the one
// waited for.
var ErrNotYet = errors.New("not yet")
