package subnets

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func told(ss []Subnet, err error) string {
	if err != nil {
		return "bad " + err.Error()
	}
	var out []string
	for _, s := range ss {
		out = append(out, fmt.Sprintf("%s %v %v", s.Node, s.Hosts, s.Prefixes))
	}
	return strings.Join(out, "; ")
}

func TestFlannel(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"10.42.1.0-24", `{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan"}`, " [192.0.2.1] [10.42.1.0/24]"},
		{"10.42.1.0-24&fd42:42:0:1::-64", `{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1"}`, " [192.0.2.1 2001:db8::1] [10.42.1.0/24 fd42:42:0:1::/64]"},
		{"0.0.0.0-0&fd42:42:0:1::-64", `{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1"}`, " [2001:db8::1] [fd42:42:0:1::/64]"},
		{"10.42.1.0", `{}`, "bad /coreos.com/network/subnets/10.42.1.0: is no lease's key, such as 10.42.1.0-24"},
		{"10.42.1.0-99", `{}`, "bad /coreos.com/network/subnets/10.42.1.0-99: 10.42.1.0/99 is not a subnet"},
		{"10.42.1.0-24", `x`, "bad /coreos.com/network/subnets/10.42.1.0-24: its value is not a lease: invalid character 'x' looking for beginning of value"},
	} {
		got := told(Flannel("/coreos.com/network", []KV{{"/coreos.com/network/config", "{}"}, {"/coreos.com/network/subnets/" + c.key, c.value}}))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.key, diff)
		}
	}
	if _, err := Flannel("/x/", nil); err == nil || !strings.Contains(err.Error(), "no lease below /x/subnets/") {
		t.Error(err)
	}
}

func TestEnv(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n", "n1 [] [10.42.1.0/24]"},
		{"FLANNEL_SUBNET=10.42.1.1/24\nFLANNEL_IPV6_SUBNET=fd42:42:0:1::1/64\n", "n1 [] [10.42.1.0/24 fd42:42:0:1::/64]"},
		{"FLANNEL_SUBNET=10.42.1\n", `bad f:1: "10.42.1" is not a subnet such as 10.42.1.0/24`},
		{"", "bad f: neither FLANNEL_SUBNET nor FLANNEL_IPV6_SUBNET is in it"},
	} {
		s, err := Env("n1", "f", []byte(c.text))
		if diff := cmp.Diff(c.want, told([]Subnet{s}, err)); diff != "" {
			t.Errorf("%q: (-want +got)\n%s", c.text, diff)
		}
	}
}

func TestNodes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{"kind": "List", "items": [
			{"kind": "Node", "metadata": {"name": "n1"}, "spec": {"podCIDR": "10.42.0.0/24", "podCIDRs": ["10.42.0.0/24", "fd42:42::/64"]},
			 "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "n1"}]}},
			{"kind": "Node", "metadata": {"name": "n2"}, "spec": {"podCIDR": "10.42.1.0/24"}},
			{"kind": "Node", "metadata": {"name": "n3"}}]}`, "n1 [192.0.2.1] [10.42.0.0/24 fd42:42::/64]; n2 [] [10.42.1.0/24]; n3 [] []"},
		{"kind: Node\nmetadata: {name: n1}\nspec: {podCIDRs: [10.42.0.0/24]}\n", "n1 [] [10.42.0.0/24]"},
		{"items:\n- metadata: {name: n1}\n  spec: {podCIDRs: [x]}\n", `bad f: Node/n1 spec.podCIDRs[0]: "x" is not a subnet such as 10.42.1.0/24`},
		{"items:\n- kind: Pod\n  metadata: {name: n1}\n", "bad f: items[0] is no Node with a name"},
		{"root:x:0:0:root:/root:/bin/bash\nbin:x:1:1::/:/sbin/nologin\n", "bad f: it is no list of Nodes; make it with: kubectl get nodes -o json"},
		{"[1, 2]", "bad f: it is no list of Nodes; make it with: kubectl get nodes -o json"},
		{"items: all\n", "bad f: items is of kind string, which no Node has there; make it with: kubectl get nodes -o json"},
		{"{}", "bad f: 0 nodes; make it with: kubectl get nodes -o json"},
	} {
		if diff := cmp.Diff(c.want, told(Nodes("f", []byte(c.text)))); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.text, diff)
		}
	}
}

func TestCheck(t *testing.T) {
	p := netip.MustParsePrefix
	got := Check(Name([]Subnet{
		{Node: "n1", Prefixes: []netip.Prefix{p("10.42.1.0/24")}},
		{Node: "n2", Prefixes: []netip.Prefix{p("10.42.1.0/25")}},
		{Node: "n1", Prefixes: []netip.Prefix{p("10.42.3.0/24")}},
		{Hosts: []netip.Addr{netip.MustParseAddr("192.0.2.4")}, Prefixes: []netip.Prefix{p("10.42.4.0/24")}},
		{Hosts: []netip.Addr{netip.MustParseAddr("192.0.2.5")}, Prefixes: []netip.Prefix{p("10.42.5.0/24")}},
		{Node: "n6"},
	}, map[netip.Addr]string{netip.MustParseAddr("192.0.2.4"): "n4"}))
	want := []string{"", "overlaps 10.42.1.0/24 of n1", "n1 has 10.42.1.0/24 too", "", "which node is 192.0.2.5? give --name 192.0.2.5=NODE, or --nodes FILE", "it has no subnet"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEnd(t *testing.T) {
	for in, want := range map[string]string{"/a/": "/a0", "a\xff": "b", "\xff": "\x00"} {
		if got := string(end(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzOutside: whatever comes from outside is read or refused.
func FuzzOutside(f *testing.F) {
	f.Add("10.42.1.0-24&fd42::-64", []byte(`{"PublicIP":"192.0.2.1"}`))
	f.Add("x", []byte("kind: Node\nmetadata: {name: n1}\nspec: {podCIDRs: [10.42.0.0/24]}\n"))
	f.Add("x", []byte("FLANNEL_SUBNET=10.42.1.1/24\n"))
	f.Add("x", []byte(`{"kvs":[{"key":"YQ==","value":"Yg=="}]}`))
	f.Fuzz(func(t *testing.T, key string, b []byte) {
		var all []Subnet
		if ss, err := Flannel("/p", []KV{{"/p/subnets/" + key, string(b)}}); err == nil {
			all = append(all, ss...)
		}
		if s, err := Env("n", "f", b); err == nil {
			all = append(all, s)
		}
		if _, err := readRange(b); err == nil {
			_ = err
		}
		if ss, err := Nodes("f", b); err == nil {
			all = append(all, ss...)
		}
		for _, s := range all {
			for _, p := range s.Prefixes {
				if !p.IsValid() || p != p.Masked() {
					t.Fatalf("%v of %q", p, b)
				}
			}
		}
		Check(all)
	})
}
