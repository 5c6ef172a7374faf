package server

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/logtail"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/admin"
)

// Config is what a server is started with. Flags of cmd/weft-server say the same
// in operators' words.
type Config struct {
	DataDir string
	Listen  string // host:port of the TLS port
	Fabric  string // name, of a store that is empty
	Name    string // of this server; empty: as before, or the host's

	NodeIPs   []netip.Addr // of this machine
	Advertise netip.Addr   // where clients reach it; the zero Addr takes the first of NodeIPs
	TLSSANs   []string     // further names and addresses in the certificate

	Seed   Seed
	Etcd   Etcd
	Backup Backup

	ClusterInit  bool   // the embedded etcd is the first of several
	ClusterReset bool   // make it the only one again, and end
	RestorePath  string // with ClusterReset: a backup to make a new store of
	Adopt        bool   // rebuild a store that was lost from what agents carry
	Join         Join   // a server that takes this one in, at its first start
	PeerListen   string // host:port of the embedded etcd among several; default: port 7445 beside Listen

	EgressSocket       string // path of CONNECT without a certificate; empty: <DataDir>/egress.sock; none: not served
	KonnectivitySocket string // path of Konnectivity's service; empty or none: not served

	RelayRate int // Mbit/s that one node may send to one other over this server; 0: no bound

	Metrics string // host:port of metrics and health; none: not served
	Debug   string // host:port of pprof; none: not served
	Log     *slog.Logger
	Tail    *logtail.Tail // that Log logs to; nil: its level and lines cannot be asked
}

// tail is Tail as what admin asks.
func (c Config) tail() admin.Log {
	if c.Tail == nil {
		return nil
	}
	return c.Tail
}

// Backup says when backups are made, and where.
type Backup struct {
	Interval time.Duration // 0: only by hand
	Keep     int           // of those on schedule; default 5
	Dir      string        // default: <DataDir>/backups
}

// Join says where a further server is taken in.
type Join struct {
	Server string // host:port of a server of the fabric
	Token  join.Token
}

// Etcd is an etcd elsewhere. Without Endpoints it is embedded.
type Etcd struct {
	Endpoints                 []string
	CAFile, CertFile, KeyFile string
	User                      string
	Password                  note.Secret
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Backup.Keep = cmp.Or(c.Backup.Keep, 5)
	c.Backup.Dir = cmp.Or(c.Backup.Dir, filepath.Join(c.DataDir, "backups"))
	return c
}

func (c Config) validate() error {
	if c.DataDir == "" {
		return errors.New("server: no data folder; give one with --data-dir")
	}
	for _, l := range []struct{ flag, addr, example string }{
		{"--listen", c.Listen, "0.0.0.0:7443"}, {"--metrics-listen", c.Metrics, "localhost:7446"}, {"--debug-listen", c.Debug, "localhost:7448"},
	} {
		if l.addr != "" && !hasPort(l.addr) || l.addr == "" && l.flag == "--listen" {
			return fmt.Errorf("server: %s %q is no address with a port, such as %s", l.flag, l.addr, l.example)
		}
	}
	if err := errors.Join(c.validateMembers(), c.validateFronts()); err != nil {
		return err
	}
	for _, name := range c.TLSSANs {
		if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
			continue
		}
		bare := strings.TrimPrefix(strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), ".")), "*.")
		if err := intent.ValidName(bare); err != nil && bare != "" {
			return fmt.Errorf("server: --tls-san %w, or an address", err)
		}
	}
	if b := c.Backup; b.Interval < 0 || b.Interval > 0 && b.Interval < time.Minute {
		return fmt.Errorf("server: --backup-interval %v: give a minute or more, or 0 for none", b.Interval)
	}
	if c.RelayRate < 0 {
		return fmt.Errorf("server: --relay-rate %d: give Mbit/s, or 0 for no bound", c.RelayRate)
	}
	if c.RestorePath != "" && !c.ClusterReset {
		return errors.New("server: --cluster-reset-restore-path makes a new store of a backup: give --cluster-reset with it; for a fabric that runs: weft backup restore FILE")
	}
	if c.Adopt && c.ClusterReset {
		return errors.New("server: --adopt and --cluster-reset are two ways out of two troubles; give one of them")
	}
	if c.Backup.Keep < 0 {
		return fmt.Errorf("server: --backup-keep %d: keep at least 1; to make none, --backup-interval 0", c.Backup.Keep)
	}
	if (c.Etcd.CertFile == "") != (c.Etcd.KeyFile == "") {
		return errors.New("server: --etcd-certfile and --etcd-keyfile go together; give both or none")
	}
	for _, f := range []string{c.Etcd.CAFile, c.Etcd.CertFile, c.Etcd.KeyFile} {
		if f == "" {
			continue
		}
		if len(c.Etcd.Endpoints) == 0 {
			return fmt.Errorf("server: %s is for an etcd elsewhere; name it with --etcd-endpoints", f)
		}
		if _, err := os.Stat(f); err != nil {
			return fmt.Errorf("server: file for etcd: %w", err)
		}
	}
	return nil
}

// validateMembers refuses flags about several servers that exclude each other.
func (c Config) validateMembers() error {
	switch external := len(c.Etcd.Endpoints) > 0; {
	case c.Name != "" && intent.ValidName(c.Name) != nil:
		return fmt.Errorf("server: --name %w", intent.ValidName(c.Name))
	case c.ClusterInit && c.Join.Server != "":
		return errors.New("server: --cluster-init begins a cluster and --server joins one; give one of them")
	case c.ClusterInit && external:
		return errors.New("server: --cluster-init is for the embedded etcd, and --etcd-endpoints names one elsewhere: any number of servers works on that; leave --cluster-init away")
	case c.PeerListen != "" && !hasPort(c.PeerListen):
		return fmt.Errorf("server: --peer-listen %q is no address with a port, such as 0.0.0.0:7445", c.PeerListen)
	case c.Join.Server == "" && c.Join.Token.CAHash != "":
		return errors.New("server: --token-file is for a server that joins others: name one of them with --server https://FIRST:7443")
	}
	return nil
}

// hasPort tells whether an address can be listened on, as far as its form goes.
func hasPort(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// names are what clients may dial, for the certificate, the one to advertise
// first.
func (c Config) names(listening netip.Addr) []string {
	var out []string
	add := func(a netip.Addr) {
		if a.IsValid() && !a.IsUnspecified() {
			out = append(out, a.Unmap().WithZone("").String())
		}
	}
	add(c.Advertise)
	for _, a := range c.NodeIPs {
		add(a)
	}
	add(listening)
	if len(out) == 0 {
		for _, a := range interfaceAddrs() {
			add(a)
		}
	}
	if len(out) == 0 {
		out = append(out, "127.0.0.1")
	}
	return compact(append(out, c.TLSSANs...))
}

// warnAbsent warns of NodeIPs that no interface has; has is nil when interfaces
// could not be listed.
func (c Config) warnAbsent(has []netip.Addr) {
	if has == nil {
		return
	}
	for _, a := range c.absent(has) {
		c.Log.Warn("address not found", note.Addr, a, note.Flag, "--node-ip", note.Do, "no interface has it: change --node-ip, unless agents reach this machine by it all the same")
	}
}

// absent are the NodeIPs that no interface has, of those that it has.
func (c Config) absent(has []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(c.NodeIPs), func(a netip.Addr) bool { return slices.Contains(has, a.Unmap().WithZone("")) })
}

func compact(in []string) []string {
	var out []string
	for _, s := range in {
		if s = strings.TrimSpace(s); s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// interfaceAddrs are the machine's own addresses that others may reach, IPv4
// first.
func interfaceAddrs() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().IsGlobalUnicast() {
			out = append(out, p.Addr())
		}
	}
	slices.SortStableFunc(out, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return out
}
