package kernel_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// TestForgetFlows: of the flows to a port of the node go those that lead elsewhere.
func TestForgetFlows(t *testing.T) {
	const (
		node, old, now = "192.0.2.1", "10.42.1.5", "10.42.1.6"
		n6, p6         = "2001:db8::1", "fd42:42:0:1::6"
	)
	k := open(t)
	kerneltest.Run(t, "ip addr add 192.0.2.1/24 dev lo")
	kerneltest.Run(t, "ip addr add 2001:db8::1/64 dev lo nodad")
	udp := func(dst, to string, dport int) string {
		return fmt.Sprintf("udp %s %s %d", dst, to, dport)
	}
	all := []string{
		udp(node, node, 5353), udp(node, old, 5353), udp(node, now, 5353), // to the port: nowhere, to the old pod, to the new one
		udp("127.0.0.1", old, 5353), udp("198.51.100.1", "198.51.100.1", 5353), udp(node, old, 5354),
		"tcp " + node + " " + old + " 5353", "sctp " + node + " " + old + " 5353",
		udp(n6, n6, 5353), udp(n6, p6, 5353),
	}
	slices.Sort(all)
	for _, c := range []struct {
		what string
		p    kernel.Forward
		gone []string
	}{
		{"the port has a new pod", kernel.Forward{Proto: "udp", Port: 5353, Pod: addr(now), Live: true}, []string{udp(node, node, 5353), udp(node, old, 5353), udp("127.0.0.1", old, 5353)}},
		{"the pod is gone", kernel.Forward{Proto: "udp", Port: 5353, Pod: addr(now)}, []string{udp(node, node, 5353), udp(node, old, 5353), udp(node, now, 5353), udp("127.0.0.1", old, 5353)}},
		{"of one address", kernel.Forward{Proto: "udp", HostIP: addr("127.0.0.1"), Port: 5353, Pod: addr(now), Live: true}, []string{udp("127.0.0.1", old, 5353)}},
		{"SCTP", kernel.Forward{Proto: "sctp", Port: 5353, Pod: addr(now), Live: true}, []string{"sctp " + node + " " + old + " 5353"}},
		{"IPv6", kernel.Forward{Proto: "udp", Port: 5353, Pod: addr(p6), Live: true}, []string{udp(n6, n6, 5353)}},
	} {
		for i, f := range all {
			insert(t, f, 4000+i)
		}
		if d := cmp.Diff(all, flows(t)); d != "" {
			t.Fatalf("%s: before (-inserted +listed):\n%s", c.what, d)
		}
		if err := k.ForgetFlows(t.Context(), []kernel.Forward{c.p}); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		want := slices.DeleteFunc(slices.Clone(all), func(f string) bool { return slices.Contains(c.gone, f) })
		if d := cmp.Diff(want, flows(t)); d != "" {
			t.Errorf("%s (-want +have):\n%s", c.what, d)
		}
		kerneltest.Run(t, "conntrack -F")
	}
}

// insert makes a flow "proto to translated port".
func insert(t *testing.T, f string, sport int) {
	t.Helper()
	w := strings.Fields(f)
	client := "192.0.2.9"
	if !netip.MustParseAddr(w[1]).Is4() {
		client = "2001:db8::9"
	}
	more := ""
	switch w[0] {
	case "tcp":
		more = " --state ESTABLISHED"
	case "sctp":
		more = " --state ESTABLISHED --orig-vtag 1 --reply-vtag 2"
	}
	kerneltest.Run(t, fmt.Sprintf("conntrack -I -p %s -s %s -d %s --sport %d --dport %s -r %s -q %s --reply-port-src %s --reply-port-dst %d -t 100%s",
		w[0], client, w[1], sport, w[3], w[2], client, w[3], sport, more))
}

// flows lists what there is, as insert takes it.
func flows(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, family := range []string{"ipv4", "ipv6"} {
		for line := range strings.Lines(kerneltest.Run(t, "conntrack -L -f "+family)) {
			w := strings.Fields(line)
			var dst, src, dport []string
			for _, f := range w {
				switch k, v, _ := strings.Cut(f, "="); k {
				case "dst":
					dst = append(dst, v)
				case "src":
					src = append(src, v)
				case "dport":
					dport = append(dport, v)
				}
			}
			if len(src) == 2 {
				out = append(out, fmt.Sprintf("%s %s %s %s", w[0], dst[0], src[1], dport[0]))
			}
		}
	}
	slices.Sort(out)
	return out
}
