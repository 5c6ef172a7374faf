package lab

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

// TestHostCarries: a host that is wired, or has moved to other addresses, carries
// packets from the first on, however long the kernel takes to make its addresses
// usable, or its port one that forwards: here some four seconds, and neighbours give
// up after three.
func TestHostCarries(t *testing.T) {
	for _, tt := range []struct {
		slow string
		on   string // what is slowed down so: b's namespace or the switch's
		how  string
		do   func(*Host, context.Context) error
	}{
		{"addresses", "b", "cd /proc/sys/net/ipv6/conf/default; echo 1 >accept_dad; echo 4 >dad_transmits", (*Host).Rewire},
		{"port", switchName, "ip link set br0 type bridge stp_state 1 forward_delay 200", (*Host).Rewire},
		{"other addresses", "b", "cd /proc/sys/net/ipv6/conf/eth0; echo 1 >accept_dad; echo 4 >dad_transmits", (*Host).Roam},
	} {
		t.Run(tt.slow, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			l, err := New(ctx, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
			hosts := map[string]*Host{switchName: l.wire}
			for name, addrs := range map[string][]string{"a": {"10.99.0.1/24", "fd99::1/64"}, "b": {"10.99.0.2/24", "fd99::2/64"}} {
				if hosts[name], err = l.Host(ctx, name, 1500, prefixes(addrs...), nil); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := hosts[tt.on].Run(ctx, "sh", "-c", tt.how); err != nil {
				t.Fatal(err)
			}
			if err := tt.do(hosts["b"], ctx); err != nil {
				t.Fatal(err)
			}
			for _, to := range hosts["b"].addrs {
				f, err := StartFlow(hosts["a"], to.Addr(), 5*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				if c, err := f.Stop(ctx); err != nil || c.Missing() > 0 {
					t.Errorf("to %v: %v, %v", to, c, err)
				}
			}
		})
	}
}

func prefixes(addrs ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addrs {
		out = append(out, netip.MustParsePrefix(a))
	}
	return out
}
