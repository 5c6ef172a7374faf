package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func prefixes(s string) []netip.Prefix {
	var out []netip.Prefix
	for _, f := range strings.Fields(s) {
		out = append(out, netip.MustParsePrefix(f))
	}
	return out
}

func among(s string) func(netip.Addr) bool {
	return func(a netip.Addr) bool { return slices.Contains(strings.Fields(s), a.String()) }
}

func TestPick(t *testing.T) {
	for _, c := range []struct {
		name, pool, after, used string
		freed                   map[string]time.Duration // ago
		want                    string
	}{
		{name: "OK first is not the fabric address", pool: "10.42.1.0/24", want: "10.42.1.1"},
		{name: "OK next after the last", pool: "10.42.1.0/24", after: "10.42.1.7", want: "10.42.1.8"},
		{name: "OK skips the used", pool: "10.42.1.0/24", after: "10.42.1.7", used: "10.42.1.8 10.42.1.9", want: "10.42.1.10"},
		{name: "OK wraps before broadcast", pool: "10.42.1.0/24", after: "10.42.1.254", used: "10.42.1.1", want: "10.42.1.2"},
		{name: "OK last given was of a lost prefix", pool: "10.42.1.0/24", after: "10.42.9.9", want: "10.42.1.1"},
		{name: "OK second prefix", pool: "10.42.1.0/30 10.42.7.0/24", after: "10.42.1.2", want: "10.42.7.1"},
		{name: "OK from the second around to the first", pool: "10.42.1.0/30 10.42.7.0/30", after: "10.42.7.2", want: "10.42.1.1"},
		{name: "OK resting is skipped", pool: "10.42.1.0/29", freed: map[string]time.Duration{"10.42.1.1": 59 * time.Second}, want: "10.42.1.2"},
		{name: "OK rested", pool: "10.42.1.0/29", freed: map[string]time.Duration{"10.42.1.1": 60 * time.Second}, want: "10.42.1.1"},
		{
			name: "OK the longest-rested rather than fail", pool: "10.42.1.0/29", used: "10.42.1.1 10.42.1.2 10.42.1.3 10.42.1.4",
			freed: map[string]time.Duration{"10.42.1.5": 3 * time.Second, "10.42.1.6": 4 * time.Second}, want: "10.42.1.6",
		},
		{name: "OK a clock that jumped back still rests", pool: "10.42.1.0/29", freed: map[string]time.Duration{"10.42.1.1": -time.Hour}, want: "10.42.1.2"},
		{name: "OK IPv6", pool: "fd42:0:0:1::/64", want: "fd42:0:0:1::1"},
		{name: "OK IPv6 has no broadcast", pool: "fd42::/126", after: "fd42::2", want: "fd42::3"},
		{name: "OK IPv6 wraps", pool: "fd42::/64", after: "fd42::ffff:ffff:ffff:ffff", want: "fd42::1"},
		{name: "OK /31 has one (RFC 3021)", pool: "10.42.1.0/31", want: "10.42.1.1"},
		{name: "OK top of IPv4", pool: "255.255.255.252/30", want: "255.255.255.253"},
		{name: "bad /32", pool: "10.42.1.0/32", want: "0 of 0 IPv4 addresses in [10.42.1.0/32] are used: no address is free"},
		{name: "bad /128", pool: "fd42::/128", want: "0 of 0 IPv6"},
		{name: "bad exhausted", pool: "10.42.1.0/30", used: "10.42.1.1 10.42.1.2", want: "2 of 2 IPv4 addresses in [10.42.1.0/30] are used"},
		{name: "bad no prefix of the family", pool: "", want: "this node has no IPv4 prefix"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Request{Is4: !strings.Contains(c.pool, "::"), Now: epoch, Used: among(c.used)}
			if c.after != "" {
				r.After = netip.MustParseAddr(c.after)
			}
			r.Freed = func(a netip.Addr) time.Time {
				if ago, ok := c.freed[a.String()]; ok {
					return epoch.Add(-ago)
				}
				return time.Time{}
			}
			got, err := Pool{Prefixes: prefixes(c.pool)}.Pick(r)
			if err != nil && !errors.Is(err, ErrExhausted) {
				t.Errorf("%v is no ErrExhausted", err)
			}
			if text := fmt.Sprint(got, err); !strings.Contains(text, c.want) || err == nil && got.String() != c.want {
				t.Errorf("got %s, want %s", text, c.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	pool := Pool{Prefixes: prefixes("10.42.1.0/24 fd42:0:0:1::/64")}
	for _, c := range []struct{ addr, want string }{
		{"10.42.1.9", ""},
		{"fd42:0:0:1::9", ""},
		{"fd42:0:0:1:ffff:ffff:ffff:ffff", ""},
		{"10.42.1.5", "is in use on this node"},
		{"10.42.1.0", "kept for the node's fabric address"},
		{"fd42:0:0:1::", "kept for the node's fabric address"},
		{"10.42.1.255", "is the broadcast address of 10.42.1.0/24"},
		{"10.42.2.9", "is in none of this node's prefixes"},
	} {
		err := pool.Check(netip.MustParseAddr(c.addr), among("10.42.1.5"))
		if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("check %s: %v, want %q", c.addr, err, c.want)
		}
	}
}

func TestUsable(t *testing.T) {
	for _, c := range []struct {
		pool string
		is4  bool
		want int64
	}{
		{"10.42.1.0/24", true, 254},
		{"10.42.1.0/24 10.42.2.0/30 fd42::/64", true, 256},
		{"10.42.1.0/31", true, 1},
		{"10.42.1.0/32", true, 0},
		{"fd42::/126", false, 3},
		{"fd42::/64 fd43::/64", false, 1<<63 - 1},
	} {
		if got := (Pool{Prefixes: prefixes(c.pool)}).Usable(c.is4); got != c.want {
			t.Errorf("%s: %d, want %d", c.pool, got, c.want)
		}
	}
}

// TestPickIsBounded: a caller that claims everything is used gets an answer.
func TestPickIsBounded(t *testing.T) {
	everything := func(netip.Addr) bool { return true }
	if _, err := (Pool{Prefixes: prefixes("fd42::/64")}).Pick(Request{Now: epoch, Used: everything}); !errors.Is(err, ErrExhausted) {
		t.Error(err)
	}
}

// TestPoolNeverGivesTwice walks adds and deletes at random against a set.
func TestPoolNeverGivesTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := Pool{Prefixes: prefixes(rapid.SampledFrom([]string{
			"10.42.1.0/29", "10.42.1.0/30 10.42.5.0/29", "fd42::/125", "fd42::/126 10.42.1.0/30",
		}).Draw(t, "pool"))}
		is4 := pool.Prefixes[0].Addr().Is4()
		used, freed := map[netip.Addr]bool{}, map[netip.Addr]time.Time{}
		var last netip.Addr
		now := epoch
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				a, err := pool.Pick(Request{
					Is4: is4, After: last, Now: now,
					Used:  func(a netip.Addr) bool { return used[a] },
					Freed: func(a netip.Addr) time.Time { return freed[a] },
				})
				if full := int64(len(used)) == pool.Usable(is4); (err != nil) != full {
					t.Fatalf("%v with %d of %d used", err, len(used), pool.Usable(is4))
				}
				if err != nil {
					return
				}
				if used[a] || pool.Check(a, func(netip.Addr) bool { return false }) != nil {
					t.Fatalf("%v is used or not to be given", a)
				}
				if at, ok := freed[a]; ok && now.Sub(at) < RestAddr && int64(len(used)+resting(freed, now)) < pool.Usable(is4) {
					t.Fatalf("%v rests since %v and others are free", a, at)
				}
				used[a], last = true, a
				delete(freed, a)
			},
			"del": func(t *rapid.T) {
				for a := range used {
					delete(used, a)
					freed[a] = now
					return
				}
			},
			"wait": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(1, 50).Draw(t, "s")) * time.Second) },
		})
	})
}

func resting(freed map[netip.Addr]time.Time, now time.Time) int {
	n := 0
	for _, at := range freed {
		if now.Sub(at) < RestAddr {
			n++
		}
	}
	return n
}

func TestSpecial(t *testing.T) {
	for _, c := range []struct{ prefix, want string }{
		{"10.42.0.0/16", ""},
		{"100.64.0.0/10", ""},
		{"fd42::/48", ""},
		{"2001:db8::/32", ""},
		{"169.254.10.0/24", "link-local"},
		{"fe80::/64", "link-local"},
		{"fe00::/8", "link-local"},
		{"224.0.1.0/24", "multicast"},
		{"ff02::/16", "multicast"},
		{"127.0.0.0/24", "loopback"},
		{"::/96", "loopback"},
		{"0.0.0.0/0", "this network"},
		{"250.0.0.0/8", "reserved"},
	} {
		err := Special(netip.MustParsePrefix(c.prefix))
		if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.prefix, err, c.want)
		}
	}
}

func TestCovering(t *testing.T) {
	for in, want := range map[string]string{
		"10.42.17.0/24 10.42.18.0/24 10.42.30.0/24": "10.42.16.0/20",
		"10.42.0.0/24 10.42.255.0/24":               "10.42.0.0/16",
		"fd42::/64":                                 "fd42::/64",
		"0.0.0.0/1 128.0.0.0/1":                     "0.0.0.0/0",
	} {
		if got := Covering(prefixes(in)).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func BenchmarkPick64(b *testing.B) {
	pool := Pool{Prefixes: prefixes("fd42::/64")}
	used := map[netip.Addr]bool{}
	r := Request{Now: epoch, Used: func(a netip.Addr) bool { return used[a] }}
	for b.Loop() {
		a, err := pool.Pick(r)
		if err != nil {
			b.Fatal(err)
		}
		r.After = a
	}
}
