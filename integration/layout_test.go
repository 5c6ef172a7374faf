package integration

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/weft-net/weft/"

// effects are the rooms that touch the world; pure rooms never import them.
var effects = []string{
	"agent/kernel", "agent/reconcile", "agent/uplink", "agent/local", "agent/pod", "agent",
	"server/store/etcd", "server/push", "server/identity", "server/admin", "server/lease", "server",
	"os/exec", "net/http", "github.com/vishvananda/", "github.com/google/nftables", "google.golang.org/grpc",
	"go.etcd.io/",
}

// walls are what must not be imported, by whom, and why. A path that ends in /
// means everything below; others mean just that package. Imports count through
// other packages of this module too.
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
		from:  []string{"ipam", "proto/intent", "proto/note", "proto/cniwire", "server/compile", "server/kind", "agent/overlay", "agent/nat", "agent/underlay", "agent/datapath"},
		never: effects, except: []string{"proto/intent"},
		why: "pure rooms decide; they never touch the world, so that they can be tested and run anywhere (weft plan)",
	},
	{
		from: []string{"server/", "server", "cmd/", "agent/", "agent"}, except: []string{"server/store/etcd", "server", "cmd/weft-server"},
		never: []string{"go.etcd.io/"},
		why:   "etcd enters only through server/store/etcd; the rest knows store.Store",
	},
	{
		from: []string{"server/", "server", "cmd/", "agent/", "agent"}, except: []string{"agent/kernel", "agent/kernel/kerneltest", "agent", "cmd/weft-agent"},
		never: []string{"github.com/vishvananda/", "github.com/google/nftables", "golang.zx2c4.com/"},
		why:   "agent/kernel is the only importer of netlink, nftables and wgctrl",
	},
	{
		from:  []string{"server/store/", "server/store", "server/kind", "ipam", "agent/datapath", "agent/kernel", "agent/kernel/", "agent/reconcile", "agent/pod", "agent/nat", "agent/underlay"},
		never: []string{"google.golang.org/grpc", "google.golang.org/protobuf"}, except: []string{"server/store/etcd", "proto/intent"},
		why: "generated types stop at intent, push, admin, uplink, local and the CLI",
	},
	{
		from: []string{"cmd/weft-cni", "proto/cniwire"}, never: []string{"google.golang.org/", "net/http", "github.com/spf13/", "github.com/weft-net/weft/proto/weft/"},
		why: "the shim is exec'd for every pod event: 3 MB and milliseconds, no gRPC, no protobuf",
	},
	{
		from: []string{"cmd/weft"}, never: []string{"server/", "agent/kernel", "agent/kernel/", "agent/reconcile", "agent/uplink", "agent/pod", "agent/local", "agent"},
		why: "the CLI speaks gRPC; of the agent it may run the pure rooms only, for weft plan",
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
