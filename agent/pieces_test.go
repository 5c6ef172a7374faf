package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestNodeEnv(t *testing.T) {
	lease := []netip.Prefix{pfx("10.42.1.0/24"), pfx("fd42:42:0:1::/64")}
	uplink := []intent.Underlay{{Addr: pfx("10.0.0.11/24"), Device: "eth0", MTU: 1500}}
	for _, c := range []struct {
		name  string
		lease []netip.Prefix
		want  string
	}{
		{"dual stack", lease, "WEFT_NODE=n1\nWEFT_FABRIC_IPV4=10.42.1.0\nWEFT_FABRIC_IPV6=fd42:42:0:1::\nWEFT_MTU=1450\nWEFT_LEASE=10.42.1.0/24,fd42:42:0:1::/64\n"},
		{"IPv6 alone", lease[1:], "WEFT_NODE=n1\nWEFT_FABRIC_IPV6=fd42:42:0:1::\nWEFT_MTU=1450\nWEFT_LEASE=fd42:42:0:1::/64\n"},
		{"no lease", nil, ""},
	} {
		n := intent.Node{Name: "n1", Cluster: intent.Cluster{Backend: intent.VXLAN}, Peers: []intent.Peer{{Name: "n1", Lease: c.lease}}}
		if diff := cmp.Diff(c.want, nodeEnv(n, uplink)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestConflistIsReadByLibcni(t *testing.T) {
	dir := t.TempDir()
	if err := writeConflist(dir, "/run/weft/cni.sock"); err != nil {
		t.Fatal(err)
	}
	list, err := libcni.ConfListFromFile(filepath.Join(dir, conflistName))
	if err != nil {
		t.Fatal(err)
	}
	if list.CNIVersion != "1.1.0" || list.Name != "weft" || len(list.Plugins) != 1 || list.Plugins[0].Network.Type != "weft-cni" {
		t.Errorf("%+v", list)
	}
	if !list.Plugins[0].Network.Capabilities["portMappings"] {
		t.Error("no portMappings")
	}
}

func TestFindBinDir(t *testing.T) {
	there, none := t.TempDir(), filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		flag       string
		candidates []string
		want       string
	}{
		{"auto", []string{none, there}, there},
		{"auto", []string{none}, ""},
		{"none", []string{there}, ""},
		{"", []string{there}, ""},
		{"/x", []string{there}, "/x"},
	} {
		if got := findBinDir(c.flag, c.candidates); got != c.want {
			t.Errorf("%q among %q: %q, want %q", c.flag, c.candidates, got, c.want)
		}
	}
}

func TestChecksumOff(t *testing.T) {
	for _, c := range []struct {
		setting, release, drivers string
		want                      bool
	}{
		{"auto", "5.6.19", "", true},
		{"auto", "4.18.0-553.el8.x86_64", "virtio_net", true},
		{"auto", "5.7.0", "", false},
		{"auto", "5.10.0-28-amd64", "igb", false},
		{"auto", "6.1", "ens vmxnet3", true},
		{"auto", "nonsense", "", false},
		{"off", "6.1.0", "", true},
		{"on", "4.19.0", "vmxnet3", false},
	} {
		if got := checksumOff(c.setting, c.release, strings.Fields(c.drivers)); got != c.want {
			t.Errorf("%v: %v", c, got)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	good := Config{Servers: []string{"https://10.0.0.1"}, NodeName: "n1"}
	for _, c := range []struct {
		name string
		with func(*Config)
		want string
	}{
		{"OK", func(*Config) {}, ""},
		{"bad name", func(c *Config) { c.NodeName = "N_1" }, "--node-name"},
		{"bad name that the server would refuse", func(c *Config) { c.NodeName = "a..b" }, "--node-name"},
		{"bad server", func(c *Config) { c.Servers = []string{"http://x"} }, "https://"},
		{"no server", func(c *Config) { c.Servers = nil }, "--server"},
		{"bad expression", func(c *Config) { c.IfaceRegex = "(" }, "--iface-regex"},
		{"bad offload", func(c *Config) { c.ChecksumOff = "maybe" }, "auto, on or off"},
		{"bad metrics", func(c *Config) { c.MetricsListen = "7447" }, "--metrics-listen \"7447\" is no address with a port, such as localhost:7447"},
		{"bad metrics port", func(c *Config) { c.MetricsListen = "localhost:70000" }, "--metrics-listen"},
		{"bad token", func(c *Config) { c.Token = "weft1.x" }, "token"},
		{"bad proxy", func(c *Config) { c.Getenv = func(string) string { return "socks5://p:1080" } }, "HTTPS_PROXY: a proxy of scheme"},
		{"two tokens", func(c *Config) { c.Token, c.TokenFile = "weft1.x", "/f" }, "--token-file"},
	} {
		cfg := good
		c.with(&cfg)
		_, err := cfg.normalize()
		if got := err != nil; got != (c.want != "") || got && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestForeign(t *testing.T) {
	for path, want := range map[string]bool{
		"net/ipv4/ip_forward":                   true,
		"net/ipv6/conf/all/forwarding":          true,
		"net/ipv6/conf/eth0/accept_ra":          true,
		"net/ipv4/conf/weft0/rp_filter":         false,
		"net/ipv4/conf/weft-vx/rp_filter":       false,
		"net/ipv4/conf/wf0123456789a/rp_filter": false,
		"net/ipv4/conf/wfoo/rp_filter":          true,
		"net/ipv4/neigh/default/gc_thresh3":     true,
	} {
		if got := foreign(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestSettingsAreRecordedBeforeTheyChange(t *testing.T) {
	dir, err := datadir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	log := slog.New(slog.DiscardHandler)
	s, err := openSettings(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	const path = "net/ipv4/ip_forward"
	was, err := os.ReadFile(procSys + path)
	if err != nil {
		t.Skip("no /proc/sys/net")
	}
	k := &applied{}
	op := datapath.Op{New: datapath.Sysctl{Path: path, Value: "1"}}
	own := datapath.Op{New: datapath.Sysctl{Path: "net/ipv4/conf/weft0/rp_filter", Value: "2"}}
	k.check = func() {
		again, err := openSettings(dir, log)
		if err != nil || !again.had(path, strings.TrimSpace(string(was))) || len(again.old) != 1 {
			t.Errorf("at the time of the change, the file holds %v, %v", again.old, err)
		}
	}
	for _, err := range (careful{k, s, nil}).Apply(context.Background(), []datapath.Op{own, op}) {
		if err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(2, k.n); diff != "" {
		t.Error(diff)
	}
}

// applied counts steps and takes none.
type applied struct {
	n     int
	check func()
}

func (a *applied) Observe(context.Context, datapath.Kinds) (datapath.State, error) { return nil, nil }

func (a *applied) Apply(_ context.Context, ops []datapath.Op) []error {
	a.check()
	a.n += len(ops)
	return make([]error, len(ops))
}

func FuzzSettingsFile(f *testing.F) {
	f.Add([]byte(`{"schema":1,"old":{"net/ipv4/ip_forward":"0"}}`))
	f.Add([]byte(`{"schema":1,"old":{"../../etc/passwd":"0"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeSettings(b)
		if err != nil {
			return
		}
		for path := range got.Old {
			if clean := filepath.Clean(procSys + path); !strings.HasPrefix(clean, procSys+"net/") && clean != procSys+"net" {
				t.Fatalf("%q leads out of %s", path, procSys)
			}
		}
	})
}

// wire is a host whose addresses a test changes.
type wire struct {
	mu   sync.Mutex
	host datapath.Host
}

func (w *wire) Host(context.Context) (datapath.Host, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.host, nil
}

func (w *wire) set(mtu int, addrs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.host = datapath.Host{
		Links:    []datapath.HostLink{{Index: 2, Name: "eth0", MTU: mtu, Up: true}},
		Defaults: []datapath.HostDefault{{Link: "eth0", Via: netip.MustParseAddr("10.0.0.1"), Is4: true}},
	}
	for _, a := range addrs {
		w.host.Addrs = append(w.host.Addrs, datapath.HostAddr{Link: "eth0", Prefix: pfx(a)})
	}
}

func TestHostFollowsAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		dir, err := datadir.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		w := &wire{}
		w.set(1500, "10.0.0.11/24")
		changes := 0
		h := &host{kernel: w, settings: &settings{dir: dir}, log: slog.New(slog.DiscardHandler), kicks: make(chan struct{}, 1), changed: func() { changes++ }, addrs: func(func(netip.Addr) bool) {}}
		done := make(chan error)
		go func() { done <- h.run(ctx) }()
		expect := func(after time.Duration, wantChanges int, want string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			u := h.view().underlay
			got := ""
			if len(u) > 0 {
				got = u[0].Addr.String() + " mtu " + map[bool]string{true: "1500", false: "9000"}[u[0].MTU == 1500]
			}
			if got != want || changes != wantChanges {
				t.Fatalf("%q after %d changes, want %q after %d", got, changes, want, wantChanges)
			}
		}
		expect(0, 1, "10.0.0.11/24 mtu 1500")
		w.set(9000, "10.0.0.11/24")
		h.kick()
		expect(0, 2, "10.0.0.11/24 mtu 9000") // at once
		w.set(9000, "10.0.0.99/24")           // replaced: first the new one alone …
		h.kick()
		expect(settle/2, 2, "10.0.0.11/24 mtu 9000")
		w.set(9000, "10.0.0.99/24", "10.0.0.11/24") // … then the old one is back
		h.kick()
		expect(2*settle, 2, "10.0.0.11/24 mtu 9000")
		w.set(9000, "10.0.0.12/24")
		h.kick()
		expect(time.Second, 3, "10.0.0.12/24 mtu 9000")
		cancel()
		<-done
	})
}

// Another default route, with the same addresses, is told to who proves paths: by it the
// node may look otherwise from outside. Nothing is told twice.
func TestHostFollowsDefaultRoutes(t *testing.T) {
	if !outward.Has(datapath.KindRoute) {
		t.Error("an event of a route has nobody look at the host")
	}
	dir, err := datadir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	w, moved := &wire{}, 0
	h := &host{
		kernel: w, settings: &settings{dir: dir}, log: slog.New(slog.DiscardHandler),
		changed: func() {}, moved: func() { moved++ }, addrs: func(func(netip.Addr) bool) {},
	}
	w.set(1500, "10.0.0.11/24")
	for _, c := range []struct {
		what, via string
		want      int // in all
	}{
		{"start", "10.0.0.1", 1},
		{"an event of what does not matter", "10.0.0.1", 1},
		{"another gateway", "10.0.0.2", 2},
		{"and back", "10.0.0.1", 3},
	} {
		w.host.Defaults = []datapath.HostDefault{{Link: "eth0", Via: netip.MustParseAddr(c.via), Is4: true}}
		if _, err := h.look(t.Context(), time.Now()); err != nil || moved != c.want {
			t.Errorf("%s: told %d times, want %d: %v", c.what, moved, c.want, err)
		}
	}
}

// What keeps a node from having an address is said once, with what to do.
func TestHostSaysWhyNot(t *testing.T) {
	dir, err := datadir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	w := &wire{}
	w.set(1500, "10.0.0.11/24")
	var out strings.Builder
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	h := &host{
		cfg: Config{NodeIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, kernel: w, settings: &settings{dir: dir},
		log:     slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: noTime})),
		changed: func() {}, addrs: func(func(netip.Addr) bool) {},
	}
	for range 2 {
		if _, err := h.look(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	want := `level=WARN msg="underlay not found" err="--node-ip 192.0.2.1: 192.0.2.1 is on no device; there are eth0 10.0.0.11/24" do="add the address to a device, or change --node-ip"
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
}

func TestOnePerFamily(t *testing.T) {
	for ips, want := range map[string]string{
		"":                        "",
		"10.0.0.1":                "",
		"10.0.0.1 fd00::1":        "",
		"10.0.0.1 10.0.0.2":       "agent: --node-ip names 10.0.0.1 and 10.0.0.2, which are of one family: give one address a family",
		"fd00::1 1.1.1.1 fd00::2": "agent: --node-ip names fd00::1 and fd00::2, which are of one family: give one address a family",
	} {
		var list []netip.Addr
		for _, ip := range strings.Fields(ips) {
			list = append(list, netip.MustParseAddr(ip))
		}
		err := onePerFamily(list)
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: %v, want %s", ips, err, want)
		}
	}
}

func TestLasting(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(subject string, since int64) intent.Problem {
		return intent.Problem{Subject: subject, Cause: "refused", SinceUnix: since}
	}
	for _, tt := range []struct {
		name     string
		problems []intent.Problem
		want     string
	}{
		{"OK none", nil, ""},
		{"OK just now", []intent.Problem{at("route a", 990)}, ""},
		{"one", []intent.Problem{at("route a", 990), at("route b", 970)}, "route b: refused"},
		{"many", []intent.Problem{at("route a", 900), at("route b", 1000), at("route c", 10)}, "route a: refused (and 1 more)"},
	} {
		if got := lasting(tt.problems, now); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestAcceptRA: who takes the default route from advertisements is found by the
// route, and after a boot by what weft had to change before.
func TestAcceptRA(t *testing.T) {
	const setting = "net/ipv6/conf/eth0/accept_ra"
	learned := datapath.HostDefault{Link: "eth0", Via: netip.MustParseAddr("fe80::1")}
	static := datapath.HostDefault{Link: "eth0", Via: netip.MustParseAddr("2001:db8::1")}
	for _, c := range []struct {
		name   string
		old    map[string]string
		routes []datapath.HostDefault
		link   string
		want   string
	}{
		{"learned, set before", map[string]string{setting: "1"}, []datapath.HostDefault{learned}, "eth0", "eth0"},
		{"not yet learned, set before", map[string]string{setting: "1"}, nil, "eth0", "eth0"},
		{"static, set before", map[string]string{setting: "1"}, []datapath.HostDefault{static}, "eth0", "eth0"},
		{"the operator's own", map[string]string{setting: "0"}, []datapath.HostDefault{learned}, "eth0", ""},
		{"its device is gone", map[string]string{setting: "1"}, nil, "eth1", ""},
		{"never set", nil, nil, "eth0", ""},
	} {
		h := &host{settings: &settings{old: c.old}}
		got := h.acceptRA(datapath.Host{Links: []datapath.HostLink{{Name: c.link}}, Defaults: c.routes})
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
