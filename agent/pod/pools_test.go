package pod

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/intent"
)

func told(p Pools) string {
	var out []string
	for _, u := range p.Of {
		text := fmt.Sprintf("%v %d+%d of %d", u.Prefix, u.Used, u.Resting, min(u.Usable, 999))
		if u.Closed {
			text += " closed"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// nodeOf is a node of a lease, some of it draining, in a cluster of some families.
func nodeOf(lease, draining, cidrs string) Node {
	ps := func(s string) (out []netip.Prefix) {
		for _, f := range strings.Fields(s) {
			out = append(out, netip.MustParsePrefix(f))
		}
		return out
	}
	n, _ := NodeOf(intent.Node{
		Name: "n1", Epoch: "e", Revision: 7, Cluster: intent.Cluster{CIDRs: ps(cidrs), MTU: 1450, Backend: intent.None},
		Peers: []intent.Peer{{Name: "n1", Lease: ps(lease), Draining: ps(draining)}},
	})
	return n
}

// TestPools: a node's lease changes under its pods.
func TestPools(t *testing.T) {
	const dual = "10.42.0.0/16 fd42:42::/48"
	w := newWorld()
	k := w.open(t, t.TempDir())
	use := func(n Node) { k.Node = func() (Node, bool) { return n, true } }
	add := func(name string) string {
		return say(k, request(cniwire.Add, name, w.netns("/ns/"+name), plainConfig))
	}
	use(nodeOf("10.42.1.0/30", "", "10.42.0.0/16"))
	expect(t, "IPv4 only", add("a"), "OK 10.42.1.1")
	use(nodeOf("10.42.1.0/30 fd42:42:0:1::/64", "", dual))
	expect(t, "a second family", add("b"), "OK 10.42.1.2 fd42:42:0:1::1")
	expect(t, "full", add("c"), "11 pod: no address: ipam: 2 of 2 IPv4 addresses…")
	expect(t, "status when full", say(k, request(cniwire.Status, "", "", plainConfig)), "50 pod: no address: ipam: 2 of 2 IPv4…")
	expect(t, "use", told(k.Pools()), "10.42.1.0/30 2+0 of 2, fd42:42:0:1::/64 1+0 of 999")
	use(nodeOf("10.42.1.0/30 10.42.9.0/29 fd42:42:0:1::/64", "", dual))
	expect(t, "a further prefix", add("c"), "OK 10.42.9.1 fd42:42:0:1::2")
	expect(t, "status with it", say(k, request(cniwire.Status, "", "", plainConfig)), "OK")
	if e := k.entry(ID{"c", "eth0"}); e.Gateway4 != netip.MustParseAddr("10.42.9.0") {
		t.Errorf("gateway %v", e.Gateway4)
	}
	use(nodeOf("10.42.1.0/30 10.42.9.0/29 fd42:42:0:1::/64", "10.42.1.0/30", dual))
	expect(t, "the first drains", told(k.Pools()), "10.42.1.0/30 2+0 of 2 closed, 10.42.9.0/29 1+0 of 6, fd42:42:0:1::/64 2+0 of 999")
	expect(t, "del", say(k, request(cniwire.Del, "a", "", plainConfig)), "OK")
	expect(t, "of what is open", add("d"), "OK 10.42.9.2 fd42:42:0:1::3")
	expect(t, "asked for by name", say(k, request(cniwire.Add, "e", w.netns("/ns/e"), conf(`"runtimeConfig":{"ips":["10.42.1.1"]}`))),
		"7 pod: address 10.42.1.1: ipam: 10.42.1.1 is in none of this node's prefixes…")
	expect(t, "one rests", told(k.Pools()), "10.42.1.0/30 1+1 of 2 closed, 10.42.9.0/29 2+0 of 6, fd42:42:0:1::/64 3+0 of 999")
	use(nodeOf("10.42.1.0/30 fd42:42:0:1::/64", "10.42.1.0/30", dual))
	expect(t, "the last of its family is open all the same", told(k.Pools()), "10.42.1.0/30 1+1 of 2, fd42:42:0:1::/64 3+0 of 999")
	use(nodeOf("10.42.1.0/30 fd42:42:0:1::/64", "fd42:42:0:1::/64", "10.42.0.0/16"))
	expect(t, "a family that is gone", told(k.Pools()), "10.42.1.0/30 1+1 of 2, fd42:42:0:1::/64 3+0 of 999 closed")
	use(nodeOf("10.42.9.0/29", "", "10.42.0.0/16"))
	strays := slices.DeleteFunc(k.Problems(), func(p intent.Problem) bool {
		return !strings.Contains(p.Cause, "10.42.1.2, which is of none of the node's prefixes")
	})
	if len(strays) != 1 {
		t.Errorf("%v", k.Problems())
	}
}

// An ADD that looked at the lease before a prefix was closed takes none of it.
func TestAddHeedsWhatWasClosedMeanwhile(t *testing.T) {
	w := newWorld()
	k := w.open(t, filepath.Join(t.TempDir(), "x"))
	asked := 0
	k.Node = func() (Node, bool) {
		if asked++; asked == 1 {
			return nodeOf("10.42.1.0/30 10.42.9.0/29", "", "10.42.0.0/16"), true
		}
		return nodeOf("10.42.1.0/30 10.42.9.0/29", "10.42.1.0/30", "10.42.0.0/16"), true
	}
	expect(t, "add", say(k, request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig)), "OK 10.42.9.1")
}

func TestRestsThatEndAreNews(t *testing.T) {
	w := newWorld()
	k := w.open(t, t.TempDir())
	changes := 0
	k.OnChange = func() { changes++ }
	say(k, request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig))
	say(k, request(cniwire.Del, "a", "", plainConfig))
	before := changes
	w.pass(2 * time.Minute)
	k.Sweep(context.Background())
	if changes == before || k.Pools().Of[0].Resting != 0 {
		t.Errorf("%d changes, %s", changes-before, told(k.Pools()))
	}
}

func TestElsewhere(t *testing.T) {
	w := newWorld()
	k := w.open(t, t.TempDir())
	k.Elsewhere = "/run/flannel/subnet.env"
	expect(t, "add", say(k, request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig)), "7 pod: the addresses of this node's lease are given by the plugin that reads /run/flannel/subnet.env…")
	expect(t, "status", say(k, request(cniwire.Status, "", "", plainConfig)), "50 pod: the addresses of this node's lease…")
}
