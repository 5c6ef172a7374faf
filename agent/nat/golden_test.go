package nat

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestGolden plans each file of testdata and lets nft itself read the result.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			objects, err := Objects(parse(t, string(section(ar, "in"))))
			state, mergeErr := datapath.Merge(objects)
			if mergeErr != nil || len(state) != len(objects) {
				t.Errorf("%d objects, %d keys: %v", len(objects), len(state), mergeErr)
			}
			script := nft(objects)
			problems := ""
			if err != nil {
				problems = err.Error() + "\n"
			}
			for _, f := range []txtar.File{{Name: "out", Data: []byte(script)}, {Name: "problems", Data: []byte(problems)}} {
				if diff := cmp.Diff(string(section(ar, f.Name)), string(f.Data)); diff != "" && !*update {
					t.Errorf("%s (-golden +now):\n%s", f.Name, diff)
				}
				set(ar, f)
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			check(t, script)
		})
	}
}

func check(t *testing.T, script string) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is not installed")
	}
	cmd := exec.Command("nft", "-c", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("nft refuses the rules: %v\n%s", err, out)
	}
}

// nft is the table as nft itself would load it.
func nft(objects []datapath.Object) string {
	var declared, filled, other strings.Builder
	for _, o := range objects {
		switch o := o.(type) {
		case datapath.Set:
			fmt.Fprintf(&declared, "\t%v\n", o)
		case datapath.Chain:
			fmt.Fprintf(&declared, "\t%s\n", block(o))
		case datapath.Element:
			fmt.Fprintf(&filled, "add element inet weft %s\n", strings.TrimPrefix(o.String(), "element "))
		case datapath.Rule:
			fmt.Fprintf(&filled, "add rule inet weft %s %s\n", o.Chain, o.Text())
		default:
			fmt.Fprintf(&other, "# %v\n", o)
		}
	}
	return "table inet weft {\n" + declared.String() + "}\n" + filled.String() + other.String()
}

// block is a chain as nft declares it: one that is only jumped to is empty.
func block(c datapath.Chain) string {
	if c.Hook == "" && !strings.HasSuffix(c.String(), "}") {
		return c.String() + " { }"
	}
	return c.String()
}

func section(ar *txtar.Archive, name string) []byte {
	for _, f := range ar.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

func set(ar *txtar.Archive, f txtar.File) {
	for i := range ar.Files {
		if ar.Files[i].Name == f.Name {
			ar.Files[i] = f
			return
		}
	}
	ar.Files = append(ar.Files, f)
}

// parse reads a node, one fact a line, prefixes separated by spaces:
//
//	cluster, service, masquerade, keep, lease PREFIX…
//	vxlan PORT VNI
//	guard ipv4 ipv6
//	hostport 8080/tcp -> 10.42.1.5:80 [dev wf0123456789a]
//	hostport 10.0.0.1:53/udp -> 10.42.1.5:53
func parse(t *testing.T, in string) Node {
	t.Helper()
	var n Node
	for line := range strings.Lines(in) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switch rest := words[1:]; words[0] {
		case "cluster":
			n.Cluster.CIDRs = prefixes(rest)
		case "service":
			n.Cluster.ServiceCIDRs = prefixes(rest)
		case "masquerade":
			n.Cluster.Masquerade = prefixes(rest)
		case "keep":
			n.Cluster.NonMasquerade = prefixes(rest)
		case "lease":
			n.Lease = prefixes(rest)
		case "backend":
			n.Cluster.Backend = intent.Backend(rest[0])
		case "vxlan":
			n.Cluster.Backend = intent.VXLAN
			if _, err := fmt.Sscan(strings.Join(rest, " "), &n.Cluster.VXLANPort, &n.Cluster.VNI); err != nil {
				t.Fatalf("bad line %q: %v", line, err)
			}
		case "guard":
			for _, w := range rest {
				n.Guard = append(n.Guard, w == "ipv4")
			}
		case "hostport":
			n.HostPorts = append(n.HostPorts, hostPort(t, rest))
		default:
			t.Fatalf("bad line %q", line)
		}
	}
	return n
}

func hostPort(t *testing.T, words []string) HostPort {
	t.Helper()
	var h HostPort
	port, proto, _ := strings.Cut(words[0], "/")
	h.Proto = proto
	if ap, err := netip.ParseAddrPort(port); err == nil {
		h.HostIP, h.HostPort = ap.Addr(), ap.Port()
	} else {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		h.HostPort = uint16(n)
	}
	pod := netip.MustParseAddrPort(words[2])
	h.Pod, h.PodPort = pod.Addr(), pod.Port()
	if len(words) == 5 {
		h.Dev = words[4]
	}
	return h
}

func prefixes(in []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range in {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
