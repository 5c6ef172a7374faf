package lab

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// TestCount: a packet is lost that was not answered in time, wherever it stood.
func TestCount(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct{ packets, want string }{
		{"", "0 of 0 packets lost"},
		{"....", "0 of 4 packets lost"},
		{"..x.", "1 of 4 packets lost; 2 to 2 from 03:04:05.020"},
		{"x...", "1 of 4 packets lost; 0 to 0 from 03:04:05.000"},
		{"..xx", "2 of 4 packets lost; 2 to 3 from 03:04:05.020"}, // the last ones as well
		{".xx.x", "3 of 5 packets lost; 1 to 2 from 03:04:05.010; 4 to 4 from 03:04:05.040"},
		{".l..", "1 of 4 packets lost; 1 to 1 from 03:04:05.010"}, // late
		{".s..", "0 of 4 packets lost"},                           // slow
		{".e..", "1 of 4 packets lost; 1 to 1 from 03:04:05.010 (network is unreachable)"},
		{"x.x.x.x.x.x.x.x.x.x.x.x.", "12 of 24 packets lost; 0 to 0 from 03:04:05.000; 2 to 2 from 03:04:05.020; 4 to 4 from 03:04:05.040; " +
			"6 to 6 from 03:04:05.060; 8 to 8 from 03:04:05.080; 10 to 10 from 03:04:05.100; 12 to 12 from 03:04:05.120; 14 to 14 from 03:04:05.140; " +
			"16 to 16 from 03:04:05.160; 18 to 18 from 03:04:05.180; and 2 more times"},
	} {
		const every = 10 * time.Millisecond
		var packets []packet
		for i, what := range c.packets {
			p := packet{sent: began.Add(time.Duration(i) * every)}
			switch what {
			case '.':
				p.answered = p.sent.Add(time.Millisecond)
			case 's':
				p.answered = p.sent.Add(Answer)
			case 'l':
				p.answered = p.sent.Add(Answer + 1)
			case 'e':
				p.err = errors.New("network is unreachable")
			}
			packets = append(packets, p)
		}
		if got := count(packets, every).String(); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.packets, got, c.want)
		}
	}
}

// sieve drops the next seven requests of each family.
const sieve = `table inet sieve {
	chain input {
		type filter hook input priority 0
		icmp type echo-request numgen inc mod 1000000 < 7 drop
		icmpv6 type echo-request numgen inc mod 1000000 < 7 drop
	}
}`

// TestFlow: what a wire that was cut for a while lost is counted, to the packet.
func TestFlow(t *testing.T) {
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
	host := func(name string, addrs ...string) *Host {
		h, err := l.Host(ctx, name, 1500, prefixes(addrs...), nil)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	a, b := host("a", "10.99.0.1/24", "fd99::1/64"), host("b", "10.99.0.2/24", "fd99::2/64")
	flows := func(addrs ...string) []*Flow {
		var out []*Flow
		for _, s := range addrs {
			f, err := StartFlow(a, netip.MustParseAddr(s), 5*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, f)
		}
		return out
	}
	for _, f := range flows("10.99.0.2", "fd99::2", "fd99::2") {
		c, err := f.Stop(ctx)
		if err != nil || c.Missing() > 0 || c.Sent < 40 {
			t.Errorf("over a whole wire: %v, %v", c, err)
		}
		if first := f.Answered(); first.IsZero() || first.After(time.Now()) {
			t.Errorf("over a whole wire: the first answer at %v", first)
		}
	}
	whole := flows("10.99.0.2", "fd99::2")
	if _, err := b.Run(ctx, "nft", sieve); err != nil {
		t.Fatal(err)
	}
	if f := flows("10.99.0.9")[0]; !f.Answered().IsZero() {
		t.Errorf("nobody has the address: an answer at %v", f.Answered())
	}
	for _, f := range whole {
		if c, err := f.Stop(ctx); err != nil || c.Missing() != 7 {
			t.Errorf("a wire that loses 7 of each: %v, %v", c, err)
		}
	}
}
