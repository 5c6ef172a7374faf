package integration

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/weft-net/weft/"

// effects are the rooms that touch the world and the ways to do so; pure rooms
// never import them.
var effects = []string{
	"agent/kernel", "agent/reconcile", "agent/uplink", "agent/local", "agent/pod", "agent/datadir", "agent/host/look", "agent/check", "agent/firewalld", "agent/dbus", "agent/keyring", "agent/userspace", "agent/detached", "agent/tailscale", "agent/proxy", "agent/uplink/tunnels", "agent/egress", "agent",
	"server/store/etcd", "server/push", "server/identity", "server/admin", "server/lease", "server/backup", "server/journal", "server/audit", "server", "proto/disk",
	"os", "os/exec", "syscall", "log/slog", "net/http", "golang.org/x/sys/", "github.com/vishvananda/", "github.com/google/nftables",
	"google.golang.org/grpc", "go.etcd.io/",
}

// doubles stand in for a room in tests.
var doubles = []string{
	"agent/dbus/dbustest", "agent/kernel/kerneltest", "agent/tailscale/tailscaletest", "agent/uplink/uplinktest", "server/store/storetest", "cmd/weft/internal/fabrictest",
	"testing", "pgregory.net/", "github.com/google/go-cmp", "go.uber.org/goleak",
}

// walls are what must not be imported, by whom, and why. A path that ends in /
// means everything below; others mean just that package. Imports count through
// other packages of this module too, but not through the exceptions.
var walls = []struct {
	from   []string
	except []string // packages that may
	never  []string
	why    string
}{
	{
		from: []string{"server/", "server"}, never: []string{"agent/", "agent"},
		why: "server and agent meet only in proto/: either can be replaced by another version",
	},
	{
		from: []string{"agent/", "agent"}, never: []string{"server/", "server"},
		why: "server and agent meet only in proto/: either can be replaced by another version",
	},
	{
		from: []string{"proto/", "ipam"}, never: []string{"server/", "server", "agent/", "agent", "cmd/"},
		why: "what both sides share knows neither",
	},
	{
		from: []string{
			"ipam", "proto/intent", "proto/egress", "proto/label", "proto/note", "proto/cniwire", "proto/schema", "proto/skew", "proto/near", "server/compile", "server/kind", "server/egress/selector",
			"agent/overlay", "agent/nat", "agent/underlay", "agent/datapath", "agent/host", "agent/mesh", "proto/disco", "proto/echo", "proto/preshared", "proto/relay",
		},
		never: effects, except: []string{"proto/weft/v1"},
		why: "pure rooms decide; they never touch the world, so that they can be tested and run anywhere (weft plan)",
	},
	{
		from: []string{"server/", "server", "cmd/", "agent/", "agent"}, except: []string{"server/store/etcd"},
		never: []string{"go.etcd.io/"},
		why:   "etcd enters only through server/store/etcd; the rest knows store.Store",
	},
	{
		from: []string{"server/", "server", "cmd/", "agent/", "agent"}, except: []string{"agent/kernel", "agent/kernel/kerneltest", "agent/userspace"},
		never: []string{"github.com/vishvananda/", "github.com/google/nftables", "github.com/mdlayher/", "golang.zx2c4.com/"},
		why:   "agent/kernel is the only importer of netlink, nftables and wgctrl",
	},
	{
		from: []string{"agent/", "agent", "cmd/"}, except: []string{"agent/userspace", "agent/kernel/kerneltest", "cmd/weft-agent"},
		never: []string{"golang.zx2c4.com/wireguard/device", "golang.zx2c4.com/wireguard/tun", "golang.zx2c4.com/wireguard/conn"},
		why:   "agent/userspace is the only importer of wireguard-go, and runs in a process of its own: the agent's end is not the tunnel's",
	},
	{
		from: []string{"agent/mesh"}, never: []string{"agent/overlay", "agent/paths", "agent/probe", "agent/kernel", "agent/relay", "agent/uplink", "proto/weft/"},
		except: []string{"proto/intent"},
		why:    "which way a pair takes is decided from values and a given time: its tests simulate whole fabrics in virtual time",
	},
	{
		// With --vpn-auth, which nobody has to give, a node is a member of a tailnet by
		// the tailscale program that its operator installed: there is no other way in
		// that its releases promise, and its answers are JSON.
		from: []string{"server/", "server", "agent/", "agent", "cmd/weft-server", "cmd/weft-agent", "cmd/weft-cni"}, except: []string{"agent/kernel/kerneltest", "agent/tailscale"},
		never: []string{"os/exec"},
		why:   "what runs on a node needs nothing but the kernel: an image without a shell, no text of other programs to parse",
	},
	{
		from: []string{
			"server/store/", "server/store", "server/kind", "server/compile", "server/lease", "server/journal", "ipam",
			"proto/join", "proto/note", "proto/cniwire", "proto/disk", "agent/kernel/", "agent/kernel", "agent/datapath", "agent/datadir",
			"agent/reconcile", "agent/pod", "agent/overlay", "agent/nat", "agent/underlay",
		},
		never: []string{"google.golang.org/grpc", "google.golang.org/protobuf", "proto/weft/"}, except: []string{"server/store/etcd", "proto/intent", "proto/egress"},
		why: "generated types stop at intent, push, admin, identity, uplink, local and the CLI",
	},
	{
		from: []string{"server/members"}, never: []string{"server/push", "server/admin", "server/store/etcd", "server"},
		why: "what servers are to each other knows neither who asks nor which store: its tests run on one in memory",
	},
	{
		from: []string{"tunnel"}, never: []string{"agent/", "agent", "server/", "server", "cmd/", "ipam", "proto/", "go.etcd.io/", "google.golang.org/"},
		except: []string{"proto/note"},
		why:    "tunnel knows no node, no etcd, no gRPC: it carries bytes, and whoever has a connection can use it",
	},
	{
		from: []string{"agent/egress"}, never: []string{"agent/uplink", "agent/kernel", "agent/reconcile", "agent/pod", "agent/local"},
		why: "who dials knows a tunnel and rules; which tunnels there are, and what the node is, come from the composition root",
	},
	{
		from: []string{"agent/uplink"}, never: []string{"agent/kernel", "agent/reconcile", "agent/pod", "agent/local", "agent/overlay", "agent/nat", "agent/underlay", "agent/datapath"},
		why: "the stream brings an intent and takes observations; who makes it true is the composition root's choice",
	},
	{
		from: []string{"proto/connect", "agent/proxy", "cmd/weft/internal/front", "cmd/weft/internal/socks", "cmd/weft/internal/relay"}, never: []string{"agent/uplink", "google.golang.org/", "proto/weft/", "tunnel", "proto/intent"},
		why: "a way to a HOST:PORT knows nothing of what is said on it",
	},
	{
		from: []string{"agent/uplink/tunnels"}, never: []string{"agent/uplink", "agent/egress", "google.golang.org/", "proto/weft/", "proto/intent", "tunnel", "crypto/tls"},
		why: "when to open, move and end a tunnel is decided without a certificate, a websocket or a target: its tests run in virtual time",
	},
	{
		from: []string{"agent/reconcile"}, never: []string{"agent/kernel", "agent/pod", "agent/uplink", "agent/local", "agent/overlay", "agent/nat", "agent/underlay"},
		why: "the loop sees the kernel and the wishes of rooms through interfaces: its tests need no root",
	},
	{
		from: []string{"agent/kernel"}, never: []string{"proto/", "ipam", "agent/reconcile", "agent/pod", "agent/uplink", "agent/local", "agent/overlay", "agent/nat", "agent/underlay"},
		except: []string{"agent/datapath"},
		why:    "the kernel's driver speaks the vocabulary of datapath and knows nothing of fabrics",
	},
	{
		from: []string{"agent/tailscale"}, never: []string{"agent/kernel", "agent/reconcile", "agent/pod", "agent/uplink", "agent/local", "agent/overlay", "agent/nat", "agent/underlay", "google.golang.org/", "proto/weft/"},
		except: []string{"proto/intent"},
		why:    "what the fabric wants of a tailnet is a value: its tests need no fabric, no network and no tailscaled",
	},
	{
		from: []string{"agent/host/look"}, never: []string{"agent/kernel", "agent/reconcile", "agent/pod", "agent/uplink", "agent/local"},
		why: "what is seen of a host decides nothing, and is seen the same way before a node has joined (check-config)",
	},
	{
		from: []string{"agent/pod"}, never: []string{"agent/uplink", "agent/reconcile", "agent/local", "agent/overlay"},
		why: "pods start and stop while no server and no turn of the loop is there",
	},
	{
		from: []string{"agent/local"}, never: []string{"agent/kernel", "agent/pod", "agent/reconcile"},
		why: "the sockets hand on what they are asked; who answers is the composition root's choice",
	},
	{
		from:  []string{"server/store/", "server/store", "server/kind", "server/compile", "server/lease", "server/identity", "server/journal"},
		never: []string{"server/push", "server/admin", "server"},
		why:   "what decides does not know who asks: push and admin are two doors of one house",
	},
	{
		from:  []string{"server/egress/connect", "server/egress/konnectivity"},
		never: []string{"server/identity", "server/push", "server/admin", "server/members", "server/store/etcd", "server"},
		why:   "a front end speaks its protocol; who comes and what may be dialled is asked through interfaces",
	},
	{
		from: []string{"server/backup"}, never: []string{"server/push", "server/admin", "server/identity", "server/lease", "server/store/etcd", "server"},
		why: "a restore ends all rooms: it rests on none, and tells them by keys of the store",
	},
	{
		from: []string{"server/adopt"}, never: []string{"server/store/etcd", "server/identity", "server/admin", "server/lease", "server/backup", "server"},
		why: "who is heard, and where the plan is written, is the composition root's choice",
	},
	{
		from: []string{"server/egress"}, never: []string{"server/push", "server/admin", "server/identity", "server/lease", "server/members", "server/journal", "server/store/etcd", "server"},
		why: "who a certificate names, where other servers are and who writes the audit are functions of its Config: its tests run in memory",
	},
	{
		from: []string{"server/push"}, never: []string{"server/admin", "server/identity", "server/lease"},
		why: "push sees leases and identities through interfaces",
	},
	{
		from: []string{"server/admin"}, never: []string{"server/identity", "server/lease", "server/store/etcd"},
		why: "admin writes objects to the store; who owns certificates and prefixes hears of it there",
	},
	{
		from: []string{"cmd/weft-cni", "proto/cniwire"}, never: []string{"google.golang.org/", "net/http", "github.com/spf13/", "proto/weft/"},
		why: "the shim is exec'd for every pod event: 3 MB and milliseconds, no gRPC, no protobuf",
	},
	{
		from: []string{"cmd/weft"}, never: []string{"server/", "server", "agent/kernel", "agent/kernel/", "agent/reconcile", "agent/uplink", "agent/egress", "agent/pod", "agent/local", "agent"},
		why: "the CLI speaks gRPC; of the agent it may run the pure rooms only, for weft plan",
	},
	{
		from: []string{"cmd/weft", "cmd/weft-server", "cmd/weft-agent", "cmd/weft-cni"}, never: doubles,
		why: "what tests stand on is not shipped: a fake that a binary can reach is a back door",
	},
}

type listed struct {
	ImportPath string
	Imports    []string
	GoFiles    []string
	Dir        string
	Doc        string
}

func TestWalls(t *testing.T) {
	packages := list(t)
	for _, w := range walls {
		for path := range packages {
			if !matches(path, w.from) || matches(path, w.except) {
				continue
			}
			for _, chain := range reach(packages, path, w.except) {
				last := chain[len(chain)-1]
				if matches(last, w.never) {
					t.Errorf("%s imports %s (%s): %s", path, last, strings.Join(chain, " -> "), w.why)
				}
			}
		}
	}
}

// ground is what may stand at the top of the tree.
var ground = []string{
	"go.mod", "go.sum", "proto", "server", "agent", "tunnel", "ipam", "buf.yaml", "deploy", "integration", "README.md",
	"cmd", "Makefile", "buf.gen.yaml", "bin", "dist",
}

func TestGround(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(ground, e.Name()) {
			t.Errorf("%s stands at the top of the tree: what both sides share goes below proto, the rest into a room", e.Name())
		}
	}
}

func TestRoomsHaveDocs(t *testing.T) {
	for path, p := range list(t) {
		if p.Doc == "" && !strings.HasPrefix(path, "proto/weft/") {
			t.Errorf("%s has no package comment: doc.go says what the room is, its invariants and what it does not do", path)
		}
	}
}

func TestCompositionRootsAreShort(t *testing.T) {
	const limit = 150 // lines; past that a room is missing
	for _, root := range []string{"server/server.go", "agent/agent.go"} {
		b, err := os.ReadFile(filepath.Join("..", root))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), "\n"); n > limit {
			t.Errorf("%s has %d lines, more than %d: a room is missing", root, n, limit)
		}
	}
}

// list asks the go command for every package of the product's module.
func list(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles,Dir,Doc", "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	packages := map[string]listed{}
	for dec := json.NewDecoder(out); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages[short(p.ImportPath)] = p
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return packages
}

// reach lists everything that a package imports, through packages of this module,
// each with the chain that leads there. What an exception imports is its own.
func reach(packages map[string]listed, from string, except []string) [][]string {
	var chains [][]string
	seen := map[string]bool{from: true}
	for queue := [][]string{{from}}; len(queue) > 0; queue = queue[1:] {
		chain := queue[0]
		for _, imported := range packages[chain[len(chain)-1]].Imports {
			imported = short(imported)
			if seen[imported] {
				continue
			}
			seen[imported] = true
			longer := append(append([]string{}, chain...), imported)
			chains = append(chains, longer)
			if _, ours := packages[imported]; ours && !matches(imported, except) {
				queue = append(queue, longer)
			}
		}
	}
	return chains
}

func short(path string) string { return strings.TrimPrefix(path, module) }

func matches(path string, patterns []string) bool {
	for _, p := range patterns {
		if path == p || strings.HasSuffix(p, "/") && strings.HasPrefix(path, p) ||
			strings.HasPrefix(path, p+"/") && strings.Contains(p, ".") {
			return true
		}
	}
	return false
}
