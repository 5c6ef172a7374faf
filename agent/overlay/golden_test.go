package overlay

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/proto/intent"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestGolden plans each file of testdata: nodes as a person would describe them
// in, ip, bridge and nft text out.
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
			objects, problems := Objects(parse(t, string(section(ar, "in"))))
			if _, err := datapath.Merge(objects); err != nil {
				t.Error(err)
			}
			for _, f := range []txtar.File{{Name: "out", Data: text(objects)}, {Name: "problems", Data: tell(problems)}} {
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
			check(t, objects)
		})
	}
}

// check lets nft itself read the rules.
func check(t *testing.T, objects []datapath.Object) {
	script := nft(objects)
	if script == "" {
		return
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is not installed")
	}
	cmd := exec.Command("nft", "-c", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("nft refuses the rules: %v\n%s\n%s", err, out, script)
	}
}

func nft(objects []datapath.Object) string {
	var declared, filled strings.Builder
	for _, o := range objects {
		switch o := o.(type) {
		case datapath.Set, datapath.Chain:
			fmt.Fprintf(&declared, "%v\n", o)
		case datapath.Element:
			fmt.Fprintf(&filled, "add element inet weft %s\n", strings.TrimPrefix(o.String(), "element "))
		case datapath.Rule:
			fmt.Fprintf(&filled, "add rule inet weft %s %s\n", o.Chain, o.Text())
		}
	}
	if declared.Len() == 0 {
		return ""
	}
	return "table inet weft {\n" + declared.String() + "}\n" + filled.String()
}

func text(objects []datapath.Object) []byte {
	var b strings.Builder
	for _, o := range objects {
		fmt.Fprintln(&b, o)
	}
	return []byte(b.String())
}

func tell(problems []intent.Problem) []byte {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s: %s\n  -> %s\n", p.Subject, p.Cause, p.Remedy)
	}
	return []byte(b.String())
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

// parse reads a description of nodes, one fact a line:
//
//	cluster 10.42.0.0/16 fd42:42::/48
//	backend vxlan [direct-routing] [mtu 1400]
//	spare
//	receive vxlan [vni 5000] [port 4789] [spare]
//	behind n3
//	self n1 [tx-checksum-off] [accept-ra eth0]
//	node n1 lease 10.42.1.0/24 on eth0 mtu 1500 addr 10.0.0.1/24 vtep 02:57:00:00:00:01
//	live eth0 mtu 1500 addr 10.0.0.9/24
//	choice n2 wireguard slot 0 mtu 1400 peer 0 peer 1 endpoint 198.51.100.2:51820 keepalive 25 psk fabric
//
// A node may have further words: site paris, slot 0, slot 1, lacks devices, lacks mesh. Its keys follow from its
// name. What follows peer in a choice is of that slot. A node's addresses belong to the device and MTU last named. Without a live
// line the kernel has what the intent says.
func parse(t *testing.T, in string) Node {
	t.Helper()
	n := Node{Intent: intent.Node{Revision: 1, Cluster: intent.Cluster{VNI: 4096, VXLANPort: 8472}}}
	live := false
	for line := range strings.Lines(in) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "cluster":
			for _, w := range words[1:] {
				n.Intent.Cluster.CIDRs = append(n.Intent.Cluster.CIDRs, netip.MustParsePrefix(w))
			}
		case "backend":
			backend(t, &n.Intent.Cluster, words[1:])
		case "spare":
			n.Intent.Cluster.Spare = true
		case "receive":
			n.Intent.Cluster.Receive = append(n.Intent.Cluster.Receive, carrier(t, words[1:]))
		case "behind":
			n.Intent.Cluster.Behind = append(n.Intent.Cluster.Behind, words[1:]...)
		case "self":
			self(t, &n, words[1:])
		case "node":
			n.Intent.Peers = append(n.Intent.Peers, peer(t, words[1:]))
		case "choice":
			if n.Choices == nil {
				n.Choices = map[string]mesh.Choice{}
			}
			n.Choices[words[1]] = choice(t, words[2:])
		case "live":
			p := peer(t, slices.Concat([]string{"live", "on"}, words[1:]))
			n.Underlay, live = append(n.Underlay, p.Underlay...), true
		default:
			t.Fatalf("bad line %q", line)
		}
	}
	me, _ := n.Intent.Self()
	n.VTEP, n.Slots = me.VTEP, me.Slots
	if !live {
		n.Underlay = me.Underlay
	}
	return n
}

func backend(t *testing.T, c *intent.Cluster, words []string) {
	c.Backend = intent.Backend(words[0])
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "direct-routing":
			c.DirectRouting = true
		case "mtu":
			i++
			c.MTU = number(t, words[i])
		case "encryption":
			i++
			c.Encryption = intent.Encryption(words[i])
		default:
			t.Fatalf("bad word %q", words[i])
		}
	}
}

func carrier(t *testing.T, words []string) intent.Carrier {
	k := intent.Carrier{Backend: intent.Backend(words[0]), VNI: 4096, Port: 8472}
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "spare":
			k.Spare = true
		case "vni":
			i++
			k.VNI = uint32(number(t, words[i]))
		case "port":
			i++
			k.Port = uint16(number(t, words[i]))
		default:
			t.Fatalf("bad word %q", words[i])
		}
	}
	return k
}

func self(t *testing.T, n *Node, words []string) {
	n.Intent.Name = words[0]
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "tx-checksum-off":
			n.ChecksumOff = true
		case "accept-ra":
			i++
			n.AcceptRA = append(n.AcceptRA, words[i])
		default:
			t.Fatalf("bad word %q", words[i])
		}
	}
}

func peer(t *testing.T, words []string) intent.Peer {
	p := intent.Peer{Name: words[0]}
	dev, mtu := "", 1500
	for i := 1; i+1 < len(words); i += 2 {
		value := words[i+1]
		switch words[i] {
		case "lease":
			p.Lease = append(p.Lease, netip.MustParsePrefix(value))
		case "on":
			dev = value
		case "mtu":
			mtu = number(t, value)
		case "addr":
			p.Underlay = append(p.Underlay, intent.Underlay{Addr: netip.MustParsePrefix(value), Device: dev, MTU: mtu})
		case "vtep":
			mac, err := intent.ParseMAC(value)
			if err != nil {
				t.Fatal(err)
			}
			p.VTEP = mac
		case "site":
			p.Labels = map[string]string{intent.SiteLabel: value}
		case "lacks":
			p.NoDevices, p.NoMesh = value == "devices", value == "mesh"
		case "slot":
			n := number(t, value)
			p.Slots = append(p.Slots, intent.Slot{Slot: uint8(n), Key: key(p.Name, n), Port: uint16(51820 + n)})
		default:
			t.Fatalf("bad word %q", words[i])
		}
	}
	return p
}

// key is that of a node's slot, as an operator cannot read it but tell it apart.
func key(name string, slot int) (k intent.Key) {
	copy(k[:], fmt.Sprintf("key of %s, slot %d", name, slot))
	return k
}

// rungs by their words in a description.
var rungs = map[string]mesh.Rung{
	"none": mesh.None, "direct": mesh.Direct, "vxlan": mesh.VXLAN, "wireguard": mesh.WireGuard,
	"punched": mesh.Punched, "by-node": mesh.ByNode, "by-server": mesh.ByServer,
}

func choice(t *testing.T, words []string) mesh.Choice {
	rung, ok := rungs[words[0]]
	if !ok {
		t.Fatalf("bad rung %q", words[0])
	}
	c := mesh.Choice{Rung: rung}
	var peer *mesh.Peer
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "slot":
			i++
			c.Slot = uint8(number(t, words[i]))
		case "mtu":
			i++
			c.MTU = number(t, words[i])
		case "spare":
			c.Spare = true
		case "peer":
			i++
			peer = &c.Peers[number(t, words[i])]
			peer.There = true
		case "endpoint":
			i++
			peer.Endpoint = netip.MustParseAddrPort(words[i])
		case "keepalive":
			i++
			peer.Keepalive = time.Duration(number(t, words[i])) * time.Second
		case "psk":
			peer.PSK = [32]byte{0xab, 0xcd, 1}
		case "fabric":
			peer.Fabric = true
		default:
			t.Fatalf("bad word %q", words[i])
		}
	}
	return c
}

func number(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
