package egress

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-net/weft/proto/label"
	"pgregory.net/rapid"
)

// Few addresses, names and ports, so that rules and targets meet.
var (
	someAddr = rapid.SampledFrom(addrs(
		"10.42.1.5", "10.42.1.0", "10.42.2.5", "10.0.0.11", "10.244.1.9", "10.43.0.1", "192.168.1.9", "127.0.0.1", "169.254.169.254", "0.0.0.0",
		"fd42:42:0:1::5", "2001:db8::11", "::1", "fd00:ec2::254", "64:ff9b::7f00:1", "fe80::1",
	))
	someName  = rapid.SampledFrom([]string{"", "db.example.com", "n1", "localhost"})
	somePort  = rapid.SampledFrom([]uint16{22, 80, 10250})
	somePorts = rapid.SampledFrom([]Ports{{22, 22}, {1, 65535}, {80, 90}})
	someHost  = rapid.SampledFrom([]string{"db.example.com", "*.example.com", "n1", "localhost"})
	someWord  = rapid.SampledFrom([]string{"alice", "bob", "operator", "viewer", ""})
)

func someRule(t *rapid.T) Rule {
	r := Rule{Ports: rapid.SliceOfN(somePorts, 0, 2).Draw(t, "ports")}
	if rapid.Bool().Draw(t, "by host") {
		r.Host = someHost.Draw(t, "host")
		return r
	}
	a := someAddr.Draw(t, "cidr")
	bits := rapid.SampledFrom([]int{0, 8, 16, 24, a.BitLen()}).Draw(t, "bits")
	r.Prefix = netip.PrefixFrom(a, bits).Masked()
	return r
}

func someRules(t *rapid.T) []Rule {
	return rapid.SliceOfN(rapid.Custom(someRule), 0, 3).Draw(t, "rules")
}

func somePolicy(t *rapid.T) Policy {
	return Policy{
		Name: fmt.Sprint("p", rapid.IntRange(0, 9).Draw(t, "n")), Users: rapid.SliceOfN(someWord, 0, 1).Draw(t, "users"),
		Roles: rapid.SliceOfN(someWord, 0, 1).Draw(t, "roles"), Only: rapid.Bool().Draw(t, "only"), Allow: someRules(t), Deny: someRules(t),
	}
}

func someBound(t *rapid.T) Bound {
	return Bound{
		Closed: rapid.SampledFrom([]string{"", "", "", "broken"}).Draw(t, "closed"), Limited: rapid.Bool().Draw(t, "limited"), Allow: someRules(t), Deny: someRules(t),
	}
}

func someTarget(t *rapid.T) (Asker, Target) {
	by := Asker{User: someWord.Draw(t, "user"), Role: someWord.Draw(t, "role")}
	return by, Target{Host: someName.Draw(t, "name"), Addr: someAddr.Draw(t, "addr"), Port: somePort.Draw(t, "port"), Own: rapid.Bool().Draw(t, "own")}
}

func someRulesAt(t *rapid.T) Rules {
	return Rules{Facts: n1(), Policies: rapid.SliceOfN(rapid.Custom(somePolicy), 0, 3).Draw(t, "policies"), Bound: someBound(t)}
}

// Whatever servers say, what is dialled is what the node's file leaves open.
func TestServersNeverWidenTheFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := someRulesAt(t)
		by, target := someTarget(t)
		if !r.Check(by, target).Allow {
			return
		}
		b := r.Bound
		among := func(list []Rule) bool {
			return slices.ContainsFunc(list, func(x Rule) bool { return x.matches(target) })
		}
		itself := slices.ContainsFunc(b.Allow, func(x Rule) bool { return x.names(target.Addr) && x.hasPort(target.Port) })
		_, _, special := Special(target.Addr)
		switch {
		case b.Closed != "":
			t.Fatalf("%v is dialled, and the file is %q", target, b.Closed)
		case among(b.Deny):
			t.Fatalf("%v is dialled, and the file denies it: %v", target, b.Deny)
		case b.Limited && !among(b.Allow):
			t.Fatalf("%v is dialled, and the file does not allow it: %v", target, b.Allow)
		case special && !itself:
			t.Fatalf("%v is dialled, and the file does not name it: %v", target, b.Allow)
		}
	})
}

// A deny, wherever it is added, never lets anything pass that did not before; nor
// does it matter in which order policies stand.
func TestDenyNeverAllows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := someRulesAt(t)
		by, target := someTarget(t)
		if rapid.Bool().Draw(t, "unresolved") && target.Host != "" {
			target.Addr = netip.Addr{}
		}
		was := r.Check(by, target).Allow
		more := Rules{Facts: r.Facts, Policies: slices.Clone(r.Policies), Bound: r.Bound}
		slices.Reverse(more.Policies)
		if more.Check(by, target).Allow != was {
			t.Fatalf("%v: another order of policies, another verdict", target)
		}
		deny := someRule(t)
		if i := rapid.IntRange(0, len(r.Policies)).Draw(t, "where"); i < len(r.Policies) {
			more.Policies[i].Deny = append(slices.Clone(more.Policies[i].Deny), deny)
		} else {
			more.Bound.Deny = append(slices.Clone(r.Bound.Deny), deny)
		}
		if v := more.Check(by, target); v.Allow && !was {
			t.Fatalf("%v is refused, and with another deny (%v) allowed: %v", target, deny, v)
		}
	})
}

// What the server refuses ahead, the node would refuse too: no round trip is spared
// at the price of what is allowed.
func TestAheadIsNeverStricter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := someRulesAt(t)
		by, target := someTarget(t)
		ahead := r
		ahead.Ahead, ahead.Bound = true, Bound{}
		if r.Check(by, target).Allow && !ahead.Check(by, target).Allow {
			t.Fatalf("%v: the node allows it and the server does not: %v", target, ahead.Check(by, target))
		}
	})
}

func TestPolicyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := somePolicy(t)
		p.Nodes = rapid.SliceOfN(rapid.SampledFrom([]string{"n1", "n2"}), 0, 2).Draw(t, "nodes")
		var err error
		if p.Selector, err = label.ParseSelector(rapid.SampledFrom([]string{"", "a=b", "a in (b,c),!d", "x!=y,z"}).Draw(t, "selector")); err != nil {
			t.Fatal(err)
		}
		got, err := DecodePolicy(p.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if was, is := fmt.Sprintf("%+v", p), fmt.Sprintf("%+v", got); was != is {
			t.Fatalf("%s is read as %s", was, is)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, r := range []Request{
		{Host: "10.42.1.5", Port: 80},
		{ID: "d1", Host: "db.example.com", Port: 443, By: Asker{"alice", "operator", "connect"}, Node: "n1"},
	} {
		f.Add(r.Encode())
	}
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(r.Encode())
		if err != nil || again != r {
			t.Errorf("%+v is read again as %+v, %v", r, again, err)
		}
		target := r.Target()
		if target.malformed() != "" {
			t.Errorf("%+v is read, and malformed: %s", r, target.malformed())
		}
		Rules{Facts: n1()}.Check(r.By, target)
	})
}

func FuzzDecodePolicy(f *testing.F) {
	f.Add(Policy{Name: "p", Allow: []Rule{{Host: "*.example.com", Ports: []Ports{{1, 2}}}}, Deny: []Rule{{Prefix: pfx("::/0")}}}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodePolicy(b)
		if err != nil {
			return
		}
		once := p.Encode()
		again, err := DecodePolicy(once)
		if err != nil {
			t.Fatalf("what was read is not read again: %v", err)
		}
		if twice := again.Encode(); !bytes.Equal(once, twice) {
			t.Errorf("%x, then %x", once, twice)
		}
		Rules{Facts: n1(), Policies: []Policy{p}}.Check(Asker{}, Target{Addr: netip.MustParseAddr("10.42.1.5"), Port: 80})
	})
}

func TestDecodeRefuses(t *testing.T) {
	long := string(bytes.Repeat([]byte("a"), 300))
	for _, c := range []struct {
		in   Request
		want string
	}{
		{Request{Host: "10.42.1.5"}, "port 0; accepted: 1 to 65535"},
		{Request{Port: 80}, "host is missing"},
		{Request{Host: long, Port: 80}, "host has 300 bytes"},
		{Request{Host: "::ffff:10.42.1.5", Port: 80}, "write it as 10.42.1.5"},
		{Request{Host: "fe80::1%eth0", Port: 80}, "has a zone"},
		{Request{Host: "127.1", Port: 80}, "ends in a number"},
		{Request{Host: "n1", Port: 80, By: Asker{User: long}}, "user"},
		{Request{Host: "n1", Port: 80, By: Asker{Role: "a\nb"}}, "role"},
		{Request{Host: "n1", Port: 80, ID: long}, "id"},
		{Request{Host: "n1", Port: 80, Node: "\x1b[2J"}, "node"},
		{Request{Host: "n1\xff", Port: 80}, "network"}, // not UTF-8: it is not sent
	} {
		_, err := Decode(c.in.Encode())
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(c.want)) {
			t.Errorf("%.60v: %v, want %s", c.in, err, c.want)
		}
	}
	if _, err := Decode(bytes.Repeat([]byte{0x0a, 0}, MaxRequest)); err == nil {
		t.Error("8 KiB are read")
	}
	if r, err := Decode(Request{Host: "DB.Example.COM.", Port: 80}.Encode()); err != nil || r.Host != "db.example.com" {
		t.Errorf("a name in capitals with a dot at its end: %+v, %v", r, err)
	}
}
