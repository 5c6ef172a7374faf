package egress

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// n1 is a node behind NAT, beside another CNI's pods.
func n1() Facts {
	return Facts{
		Node:      "n1",
		Addresses: addrs("10.0.0.11", "203.0.113.7", "2001:db8::11"),
		HostPorts: []uint16{9100},
		Lease:     pfxs("10.42.1.0/24", "fd42:42:0:1::/64"),
		Announced: pfxs("10.244.1.0/24"),
		Services:  pfxs("10.43.0.0/16", "fd42:43::/112"),
		Cluster:   pfxs("10.42.0.0/16", "fd42:42::/48"),
	}
}

// Each case: what policies and the node's file say, who dials what, and the answer
// with the rule that gave it and a part of its reason.
func TestCheck(t *testing.T) {
	for _, c := range []struct{ said, dial, want string }{
		// Without any policy.
		{"", "10.42.1.5:80", "yes lease: in the node's lease 10.42.1.0/24"},
		{"", "[fd42:42:0:1::5]:80", "yes lease"},
		{"", "10.244.1.9:8080", "yes announced: in 10.244.1.0/24, which the node announces"},
		{"", "10.43.0.1:443", "yes service"},
		{"", "[fd42:43::a]:53", "yes service"},
		{"", "10.0.0.11:10250", "yes host-port"},
		{"", "10.0.0.11:10010", "yes host-port"},
		{"", "10.0.0.11:9100", "yes host-port"},
		{"", "203.0.113.7:10250", "yes host-port"},
		{"", "[2001:db8::11]:10250", "yes host-port"},
		{"", "10.0.0.11:22", "no default: 10.0.0.11:22 is node n1's own address, and 22 none of its host ports (10250 10010 9100)"},
		{"", "10.0.0.12:10250", "no default: no address of node n1, of its lease (10.42.1.0/24 fd42:42:0:1::/64)"},
		{"", "10.42.2.5:80", "no default: in the cluster's range, but not in node n1's lease"},
		{"", "192.168.1.1:80", "no default"},
		{"", "93.184.216.34:443", "no default"},
		{"", "[2001:db8::12]:443", "no default"},
		{"", "n1:10250", "yes name: the node resolves n1"},
		{"", "n1=10.0.0.11:10250", "yes host-port: n1 (10.0.0.11:10250)"},

		// The node's own addresses are more than those that it says.
		{"", "10.42.1.0:22", "no default: node n1's own address"}, // the fabric address
		{"", "10.42.1.0:10250", "yes host-port"},
		{"", "[fd42:42:0:1::]:6443", "no default: node n1's own address"},
		{"", "own 10.244.1.1:22", "no default: node n1's own address"}, // of another CNI's bridge
		{"", "own 10.42.1.7:22", "no default: node n1's own address"},
		{"", "own 10.43.0.1:443", "yes service"}, // kube-proxy with ipvs puts them on the node

		// What means something to every kernel, or to a cloud.
		{"", "127.0.0.1:10250", "no loopback: 127.0.0.1:10250 is loopback (RFC 1122, section 3.2.1.3), and both an EgressPolicy and the file of node n1"},
		{"", "127.8.9.1:80", "no loopback"},
		{"", "[::1]:10250", "no loopback"},
		{"", "localhost=127.0.0.1:10250", "no loopback"},
		{"", "0.0.0.0:10250", "no unspecified"},
		{"", "0.1.2.3:80", "no unspecified"},
		{"", "[::]:10250", "no unspecified"},
		{"", "169.254.169.254:80", "no metadata: the instance metadata of most clouds"},
		{"", "metadata.google.internal=169.254.169.254:80", "no metadata"},
		{"", "[fd00:ec2::254]:80", "no metadata: AWS"},
		{"", "[fd20:ce::254]:80", "no metadata: Google Cloud"},
		{"", "[fd00:42::42]:80", "no metadata: Scaleway"},
		{"", "169.254.170.2:80", "no metadata: AWS tasks"},
		{"", "100.100.100.200:80", "no metadata: Alibaba"},
		{"", "168.63.129.16:80", "no metadata: Azure"},
		{"", "192.0.0.192:80", "no metadata: Oracle"},
		{"", "169.254.1.1:80", "no link-local"},
		{"", "[fe80::1]:80", "no link-local"},
		{"", "224.0.0.1:80", "no multicast"},
		{"", "[ff02::1]:80", "no multicast"},
		{"", "255.255.255.255:80", "no reserved"},
		{"", "[64:ff9b::a9fe:a9fe]:80", "no metadata: as 169.254.169.254 in IPv6"},
		{"", "[64:ff9b::7f00:1]:80", "no loopback"},
		{"", "[2002:a9fe:a9fe::1]:80", "no metadata"},
		{"", "[::7f00:1]:80", "no loopback"},
		{"policy wide: allow cidr ::/0", "[64:ff9b::a9fe:a9fe]:80", "no metadata"},
		{"policy wide: allow cidr ::/0", "[64:ff9b:1:a9fe:a9:fe00::]:80", "no reserved: NAT64 of a site"},
		{"policy wide: allow cidr ::/0", "[::ffff:0:a9fe:a9fe]:80", "no metadata"},
		{"policy wide: allow cidr ::/0", "[fec0::1]:80", "no link-local: site-local"},

		// What cannot be judged.
		{"", "[::ffff:10.42.1.5]:80", "no malformed: IPv4 mapped into IPv6; write it as 10.42.1.5"},
		{"", "[::ffff:127.0.0.1]:80", "no malformed"},
		{"", "[fe80::1%eth0]:80", "no malformed: has a zone"},
		{"", "10.42.1.5:0", "no malformed: port 0"},
		{"", "127.1:80", "no malformed: ends in a number, but is no address"},
		{"", "0x7f.0x1:80", "no malformed"},
		{"", "2130706433:80", "no malformed"},
		{"", "a..b:80", "no malformed: neither a name nor an address"},
		{"", "-x.example.com:80", "no malformed"},
		{"", "a/b:80", "no malformed"},

		// A policy widens.
		{"policy db: allow cidr 192.168.1.0/24 ports 5432", "192.168.1.9:5432", "yes EgressPolicy/db: allow[0] (cidr 192.168.1.0/24 ports 5432)"},
		{"policy db: allow cidr 192.168.1.0/24 ports 5432", "192.168.1.9:22", "no default"},
		{"policy db: allow cidr 192.168.1.0/24 ports 5000-6000", "192.168.1.9:6000", "yes EgressPolicy/db"},
		{"policy db: allow cidr 192.168.1.0/24 ports 5000-6000", "192.168.1.9:6001", "no default"},
		{"policy all: allow cidr 0.0.0.0/0", "93.184.216.34:443", "yes EgressPolicy/all"},
		{"policy all: allow cidr 0.0.0.0/0", "169.254.169.254:80", "no metadata: both an EgressPolicy and the file of node n1"},
		{"policy all: allow cidr 0.0.0.0/0", "127.0.0.1:80", "no loopback"},
		{"policy all: allow cidr 0.0.0.0/0", "0.0.0.0:80", "no unspecified"},
		{"policy ssh: allow cidr 10.0.0.11/32 ports 22", "10.0.0.11:22", "yes EgressPolicy/ssh"},
		{"policy ssh: allow cidr 10.0.0.0/8 ports 22", "own 10.0.0.11:22", "yes EgressPolicy/ssh"},
		{"policy db: allow host db.example.com ports 443", "db.example.com=198.51.100.7:443", "yes EgressPolicy/db: allow[0] (host db.example.com ports 443)"},
		{"policy db: allow host db.example.com ports 443", "198.51.100.7:443", "no default"},
		{"policy db: allow host *.example.com", "a.b.example.com=198.51.100.7:443", "yes EgressPolicy/db"},
		{"policy db: allow host *.example.com", "example.com=198.51.100.7:443", "no default"},
		{"policy db: allow host *.example.com", "badexample.com=198.51.100.7:443", "no default"},

		// Who answers for a name is not who wrote the rule.
		{"policy db: allow host db.example.com", "db.example.com=127.0.0.1:443", "no loopback"},
		{"policy db: allow host db.example.com", "db.example.com=169.254.169.254:80", "no metadata"},
		{"policy db: allow host db.example.com", "db.example.com=10.0.0.11:22", "no default: node n1's own address"},
		{"policy db: allow host db.example.com", "own db.example.com=172.17.0.1:22", "no default: node n1's own address"},
		{"policy db: allow host db.example.com", "db.example.com=10.42.1.0:22", "no default: node n1's own address"},

		// A policy narrows, and deny wins.
		{"policy no: deny cidr 10.42.1.0/28", "10.42.1.5:80", "no EgressPolicy/no: deny[0] (cidr 10.42.1.0/28) refuses 10.42.1.5:80 to alice (operator)"},
		{"policy no: deny cidr 10.42.1.0/28", "10.42.1.77:80", "yes lease"},
		{"policy no: deny cidr 10.42.1.0/28 ports 80", "10.42.1.5:443", "yes lease"},
		{"policy a: allow cidr 10.42.1.5/32 | policy b: deny cidr 10.0.0.0/8", "10.42.1.5:80", "no EgressPolicy/b"},
		{"policy no: deny host db.example.com", "db.example.com:80", "no EgressPolicy/no: refuses db.example.com:80"},
		{"policy no: deny host db.example.com", "db.example.com=10.42.1.5:80", "no EgressPolicy/no"},
		{"policy no: deny cidr 10.43.0.0/16", "svc.cluster.local=10.43.0.9:80", "no EgressPolicy/no"},
		{"policy few only: allow cidr 10.42.1.0/24 ports 80", "10.42.1.5:80", "yes EgressPolicy/few"},
		{"policy few only: allow cidr 10.42.1.0/24 ports 80", "10.42.1.5:443", "no EgressPolicy/few: alice (operator) may dial only what policies list at node n1"},
		{"policy few only: allow cidr 10.42.1.0/24 ports 80", "10.0.0.11:10250", "no EgressPolicy/few"},
		{"policy few only:", "10.43.0.1:443", "no EgressPolicy/few"},
		{"policy few only: | policy more: allow cidr 10.43.0.1/32", "10.43.0.1:443", "yes EgressPolicy/more"},

		// Of some who ask.
		{"policy no role=viewer: deny cidr 0.0.0.0/0", "10.42.1.5:80", "yes lease"},
		{"policy no role=viewer: deny cidr 0.0.0.0/0", "bob/viewer 10.42.1.5:80", "no EgressPolicy/no: to bob (viewer)"},
		{"policy no user=bob: deny cidr 0.0.0.0/0", "bob/admin 10.42.1.5:80", "no EgressPolicy/no"},
		{"policy no user=bob role=viewer: deny cidr 0.0.0.0/0", "eve/viewer 10.42.1.5:80", "no EgressPolicy/no"},
		{"policy few only role=viewer: allow cidr 10.42.1.0/24 ports 80", "/local 10.0.0.11:10250", "yes host-port"},
		{"policy ok user=bob: allow cidr 192.168.1.0/24", "192.168.1.9:80", "no default"},
		{"policy ok user=bob: allow cidr 192.168.1.0/24", "bob/viewer 192.168.1.9:80", "yes EgressPolicy/ok"},

		{"policy no user=: deny cidr 0.0.0.0/0", "/ 10.42.1.5:80", "yes lease"}, // nobody is no user
		{"policy no role=: deny cidr 0.0.0.0/0", "/ 10.42.1.5:80", "yes lease"},

		// The node's file is a bound that no server widens.
		{"file: allow cidr 10.42.1.0/24 ports 80", "10.42.1.5:80", "yes lease"},
		{"file: allow cidr 10.42.1.0/24 ports 80", "10.42.1.5:443", "no node-file: nothing under allow in node n1's file names 10.42.1.5:443"},
		{"file: allow cidr 10.42.1.0/24", "10.0.0.11:10250", "no node-file"},
		{"file: allow cidr 10.42.1.0/24", "192.168.1.9:80", "no default"}, // it allows nothing by itself
		{"file: allow cidr 0.0.0.0/0", "192.168.1.9:80", "no default"},
		{"file: allow cidr 10.42.1.0/24 | policy all: allow cidr 0.0.0.0/0", "192.168.1.9:80", "no node-file"},
		{"file: deny cidr 10.42.1.5/32 | policy all: allow cidr 0.0.0.0/0", "10.42.1.5:80", "no node-file: deny[0] (cidr 10.42.1.5/32) of node n1's file"},
		{"file: deny host *.internal", "db.internal:80", "no node-file"},
		{"file: none", "10.42.1.5:80", "no node-file"},
		{"file: none", "n1:10250", "yes name"},
		{"file: closed", "10.42.1.5:80", "no node-file: node n1 dials nothing: line 3: no such field"},
		{"file: closed", "n1:10250", "no node-file"},
		{"file: allow host db.example.com | policy db: allow host db.example.com", "db.example.com=198.51.100.7:443", "yes EgressPolicy/db"},
		{"file: allow host db.example.com | policy db: allow cidr 0.0.0.0/0", "198.51.100.7:443", "no node-file"},

		// What means something is named by itself, on both sides.
		{"policy md: allow cidr 169.254.169.254/32 ports 80", "169.254.169.254:80", "no metadata: and the file of node n1 must allow that address by itself"},
		{"file: allow cidr 169.254.169.254/32 ports 80", "169.254.169.254:80", "no metadata: and an EgressPolicy must allow"},
		{"file: allow cidr 169.254.169.254/32 | policy md: allow cidr 169.254.169.254/32 ports 80", "169.254.169.254:80", "yes EgressPolicy/md"},
		{"file: allow cidr 169.254.169.254/32 | policy md: allow cidr 169.254.169.254/32 ports 80", "169.254.169.254:443", "no metadata"},
		{"file: allow cidr 169.254.0.0/16 | policy md: allow cidr 169.254.169.254/32", "169.254.169.254:80", "no metadata"},
		{"file: allow cidr 169.254.169.254/32 | policy md: allow cidr 169.254.0.0/16", "169.254.169.254:80", "no metadata"},
		{"file: allow cidr 127.0.0.1/32 ports 8080 | policy lo: allow cidr 127.0.0.1/32 ports 8080", "127.0.0.1:8080", "yes EgressPolicy/lo"},
		{"file: allow cidr 127.0.0.1/32 ports 8080 | policy lo: allow cidr 127.0.0.1/32 ports 8080", "app=127.0.0.1:8080", "yes EgressPolicy/lo"},
		{"file: allow cidr 127.0.0.1/32 | policy lo: allow cidr 127.0.0.1/32 | policy no: deny cidr 127.0.0.0/8", "127.0.0.1:80", "no EgressPolicy/no"},
		{"ahead | policy md: allow cidr 169.254.169.254/32", "169.254.169.254:80", "yes EgressPolicy/md"}, // the node has the last word
		{"ahead", "169.254.169.254:80", "no metadata: and an EgressPolicy must allow"},

		// A server dials from its own machine, where no node judges again and no file is:
		// what a node says of itself opens nothing there.
		{"server", "10.42.1.5:80", "yes lease"},
		{"server", "10.0.0.11:10250", "yes host-port"},
		{"server", "10.0.0.11:9100", "no default: node n1's own address, and server s1 dials only 10250 10010 there by itself"},
		{"server", "own 10.0.0.11:22", "no default: node n1's own address"},
		{"server", "own 10.244.1.9:22", "no default: own address, and server s1"},
		{"server", "10.244.1.9:8080", "no default: in 10.244.1.0/24, which node n1 announces: that node may dial it, not server s1"},
		{"server", "10.43.0.1:443", "yes service"},
		{"server | policy db: allow cidr 10.244.0.0/16 ports 8080", "10.244.1.9:8080", "yes EgressPolicy/db"},
		{"server | policy lo: allow cidr 127.0.0.1/32 ports 6060", "bob/dialer 127.0.0.1:6060", "no loopback: and would be server s1's own"},
		{"server | policy lo: allow cidr 127.0.0.1/32 ports 6060", "ann/admin localhost=127.0.0.1:6060", "no loopback"},
		{"server | policy md: allow cidr 169.254.169.254/32", "bob/operator 169.254.169.254:80", "no metadata"},
		{"server | policy lo role=local: allow cidr 127.0.0.1/32 ports 6060", "/local 127.0.0.1:6060", "yes EgressPolicy/lo"}, // who is on that machine
		{"server | policy lo: allow cidr 127.0.0.1/32 ports 6060", "/local 127.0.0.1:6060", "no loopback: an EgressPolicy with role local must allow"},
		{"server", "/local 127.0.0.1:6060", "no loopback: and an EgressPolicy with role local must allow"},
		{"server of nobody's", "10.42.77.1:80", "no default: in the cluster's range, and leased to nobody"},
		{"server of nobody's", "198.51.100.7:443", "no default: no address of a node, of a lease or of a service, and server s1 dials nothing else by itself"},
		{"server of nobody's", "own 192.0.2.1:9100", "no default: the server's own address"},
		{"server of nobody's | policy out: allow cidr 198.51.100.0/24 ports 443", "198.51.100.7:443", "yes EgressPolicy/out"},
	} {
		by, target := dial(t, c.dial)
		v := rules(t, c.said).Check(by, target)
		got := fmt.Sprintf("no %s: %s", v.Rule, v.Reason)
		if v.Allow {
			got = fmt.Sprintf("yes %s: %s", v.Rule, v.Reason)
		}
		if !slices.Contains(classes, v.Class()) {
			t.Errorf("%q, dial %s: rule %s is not among the classes", c.said, c.dial, v.Rule)
		}
		rule, part, _ := strings.Cut(c.want, ": ")
		if !strings.HasPrefix(got, rule+": ") || !strings.Contains(got, part) {
			t.Errorf("%q, dial %s:\n got %s\nwant %s", c.said, c.dial, got, c.want)
		}
		if v.Allow == (v.Remedy != "") {
			t.Errorf("%q, dial %s: remedy %q", c.said, c.dial, v.Remedy)
		}
	}
}

func TestCutRule(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{Verdict{Rule: "node-file", Reason: "no: it is shut", Remedy: "open it"}.Text(), "node-file | no: it is shut; open it"},
		{"EgressPolicy/shop: deny[0]", "EgressPolicy/shop | deny[0]"},
		{"not-ready: node n1 cannot judge yet", "not-ready | node n1 cannot judge yet"},
		{"n1: it is shut", " | n1: it is shut"},
		{"EgressPolicy: deny[0]", " | EgressPolicy: deny[0]"},
		{"EgressPolicy/a b: deny[0]", " | EgressPolicy/a b: deny[0]"},
		{"loopback/x: no", " | loopback/x: no"},
		{"loopback", " | loopback"},
		{"", " | "},
	} {
		rule, rest, ok := CutRule(c.text)
		if got := rule + " | " + rest; got != c.want || ok != (rule != "") {
			t.Errorf("%q: %s %v, want %s", c.text, got, ok, c.want)
		}
	}
	for _, r := range special {
		if !slices.Contains(classes, r.rule) {
			t.Errorf("%s is not among the classes", r.rule)
		}
	}
}

func TestStanding(t *testing.T) {
	others := []Held{
		{"n1", pfx("10.42.1.0/24")},
		{"n2", pfx("10.42.2.0/24")},
		{"n2", pfx("fd42:42:0:2::/64")},
	}
	for _, c := range []struct{ announced, want string }{
		{"10.244.1.0/24", "stands"},
		{"10.42.1.0/25", "stands"}, // its own
		{"10.42.2.0/24", "n2 has 10.42.2.0/24"},
		{"10.42.2.128/25", "n2 has 10.42.2.0/24"},
		{"10.42.2.5/32", "n2 has 10.42.2.0/24"},
		{"10.42.0.0/16", "n2 has 10.42.2.0/24"},
		{"0.0.0.0/0", "n2 has 10.42.2.0/24"},
		{"fd42:42::/48", "n2 has fd42:42:0:2::/64"},
		{"fd42:44::/48", "stands"},
	} {
		stand, refused := Standing("n1", pfxs(c.announced), others)
		got := "stands"
		if len(refused) == 1 && len(stand) == 0 {
			got = fmt.Sprintf("%s has %v", refused[0].By.Node, refused[0].By.Prefix)
		}
		if got != c.want || len(stand)+len(refused) != 1 {
			t.Errorf("n1 announces %s: %s, want %s", c.announced, got, c.want)
		}
	}
}

func TestPolicyMeans(t *testing.T) {
	labels := map[string]string{"site": "home"}
	for _, c := range []struct {
		said, node string
		want       bool
	}{
		{"policy p:", "n1", true},
		{"policy p node=n1:", "n1", true},
		{"policy p node=n2:", "n1", false},
		{"policy p at=site=home:", "n1", true},
		{"policy p at=site=fra:", "n1", false},
		{"policy p node=n2 at=site=home:", "n1", true},
		{"policy p node=n1 at=site=fra:", "n1", true},
	} {
		if got := len(Of(rules(t, c.said).Policies, c.node, labels)) == 1; got != c.want {
			t.Errorf("%s at %s: %v, want %v", c.said, c.node, got, c.want)
		}
	}
}
