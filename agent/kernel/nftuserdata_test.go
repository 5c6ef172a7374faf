package kernel

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/weft-net/weft/agent/datapath"
)

func anyRule(t *rapid.T) datapath.Rule {
	r := datapath.Rule{Chain: "c", Index: rapid.IntRange(-5, 1<<20).Draw(t, "index")}
	for i := range rapid.IntRange(0, len(r.Match)).Draw(t, "matches") {
		r.Match[i] = datapath.Match{
			Field: rapid.SampledFrom(fieldCodes).Draw(t, "field"), Not: rapid.Bool().Draw(t, "not"),
			Value: rapid.StringMatching(`[a-z0-9.:/@ ]{0,60}`).Draw(t, "value"),
		}
	}
	for i := range rapid.IntRange(0, len(r.Do)).Draw(t, "actions") {
		r.Do[i] = datapath.Action{Verb: rapid.SampledFrom(verbCodes).Draw(t, "verb"), Arg: rapid.StringMatching(`@?[a-z]{0,10}`).Draw(t, "arg")}
	}
	r.Comment = rapid.StringMatching(`[a-z ]{0,100}`).Draw(t, "comment")
	return r
}

// TestUserdata: a process knows its rules again; another one does too, unless a
// rule is too long for that, and never takes it for another.
func TestUserdata(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRule(t)
		writer := &nft{rules: map[ruleID]datapath.Rule{}}
		reader := &nft{rules: map[ruleID]datapath.Rule{}}
		u := writer.userdata(r)
		if len(u) > udataMax {
			t.Fatalf("%d bytes", len(u))
		}
		if got, ok := writer.identify("c", u); !ok || got != r {
			t.Fatalf("the writer reads %v, %v", got, ok)
		}
		if got, ok := reader.identify("c", u); ok && got != r {
			t.Fatalf("another reads %v instead of %v", got, r)
		} else if !ok && len(r.Text())+2*(len(r.Match)+len(r.Do)) < 200 {
			t.Fatalf("another does not know %v", r)
		}
	})
}

func TestUserdataOfEveryFieldAndVerb(t *testing.T) {
	for _, f := range fieldCodes[1:] {
		p := program{}
		if p.match(datapath.Match{Field: f, Value: "@nonsense"}); p.wrong != nil && strings.Contains(p.wrong.Error(), "none that weft programs") {
			t.Error(p.wrong)
		}
	}
	for _, v := range verbCodes[1:] {
		p := program{}
		if p.do(datapath.Action{Verb: v, Arg: "@nonsense"}); p.wrong != nil && strings.Contains(p.wrong.Error(), "none that weft programs") {
			t.Error(p.wrong)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, tt := range []struct {
		match datapath.Match
		do    datapath.Action
		says  string
	}{
		{match: datapath.Match{Field: "ip ttl", Value: "1"}, says: `field "ip ttl"`},
		{match: datapath.Match{Field: datapath.SAddr4, Value: "fd42::1"}, says: "that family"},
		{match: datapath.Match{Field: datapath.SAddr6, Value: "10.0.0.1"}, says: "that family"},
		{match: datapath.Match{Field: datapath.SAddr4, Value: "10.0.0.1/24"}, says: "no address or prefix"},
		{match: datapath.Match{Field: datapath.SAddr4, Value: "0.0.0.0/0"}, says: "leave it out"},
		{match: datapath.Match{Field: datapath.IIfName, Value: "a-name-that-is-too-long"}, says: "1 to 15 bytes"},
		{match: datapath.Match{Field: datapath.IIfName, Value: "*"}, says: "1 to 15 bytes"},
		{match: datapath.Match{Field: datapath.CTState, Value: "open"}, says: `"open" is not known`},
		{match: datapath.Match{Field: datapath.CTState, Not: true, Value: "established,related"}, says: "nearly every packet"},
		{match: datapath.Match{Field: datapath.CTStatus, Not: true, Value: "dnat"}, says: "nearly every packet"},
		{match: datapath.Match{Field: datapath.L4Proto, Value: "quic"}, says: "known are"},
		{match: datapath.Match{Field: datapath.NFProto, Value: "ipx"}, says: "ipv4 or ipv6"},
		{match: datapath.Match{Field: datapath.TCPFlags, Value: "fin"}, says: "only syn"},
		{match: datapath.Match{Field: datapath.DPort, Value: "65536"}, says: "no port"},
		{match: datapath.Match{Field: datapath.VNI, Value: "16777216"}, says: "24 bits"},
		{match: datapath.Match{Field: datapath.FibDAddr, Value: "blackhole"}, says: "not programmed"},
		{match: datapath.Match{Field: datapath.Mark, Value: "0x1000/0xf00"}, says: "outside of mask"},
		{match: datapath.Match{Field: datapath.CTOrigDst4, Value: "fd42::1"}, says: "that family"},
		{match: datapath.Match{Field: datapath.Pair4, Value: "10.0.0.1"}, says: "only a @set"},
		{do: datapath.Action{Verb: "reject"}, says: `verb "reject"`},
		{do: datapath.Action{Verb: datapath.SetMark, Arg: "many"}, says: "many"},
		{do: datapath.Action{Verb: datapath.DNAT4, Arg: "10.0.0.1"}, says: "only a @map"},
	} {
		_, err := compile(datapath.Rule{Match: [6]datapath.Match{tt.match}, Do: [3]datapath.Action{tt.do}})
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v %v: error %v does not say %q", tt.match, tt.do, err, tt.says)
		}
	}
}

// TestKeysRoundTrip: what a set's key says is what it was given.
func TestKeysRoundTrip(t *testing.T) {
	for _, tt := range []struct{ typ, key string }{
		{"ipv4_addr", "10.0.0.1"},
		{"ipv4_addr", "10.0.0.0/24"},
		{"ipv4_addr", "10.0.0.1-10.0.0.6"},
		{"ipv4_addr", "0.0.0.0/1"},
		{"ipv6_addr", "fd42::/48"},
		{"inet_service", "80"},
		{"inet_service", "80-90"},
		{"inet_proto . inet_service", "tcp . 80"},
		{"inet_proto . inet_service", "132 . 80"},
		{"ifname . ipv4_addr", "wf0123456789a . 10.0.0.1"},
		{"ether_addr", "02:57:00:00:00:01"},
		{"mark", "0x100"},
		{"ipv4_addr . inet_service", "10.0.0.0/24 . 80-90"},
	} {
		k, err := parseKey(tt.typ)
		if err != nil {
			t.Fatal(err)
		}
		from, to, err := k.span(tt.key)
		if err != nil {
			t.Errorf("%s %s: %v", tt.typ, tt.key, err)
			continue
		}
		if to == nil {
			to = from
		}
		if back, ok := keyOf(k.id()); !ok || back.String() != tt.typ {
			t.Errorf("type %s comes back as %v", tt.typ, back)
		}
		want := strings.Replace(tt.key, "132", "sctp", 1)
		if got := k.spanText(from, to); got != want {
			t.Errorf("%s %s comes back as %s", tt.typ, tt.key, got)
		}
	}
	for _, tt := range []struct{ typ, key string }{
		{"ipv4_addr", "fd42::1"},
		{"ipv4_addr", "10.0.0.1/24"},
		{"ipv4_addr", "10.0.0.1 . 80"},
		{"inet_service", "65536"},
		{"inet_proto", "quic"},
		{"ifname", "a-name-that-is-too-long"},
		{"ether_addr", "02:57"},
		{"mark", "x"},
	} {
		k, err := parseKey(tt.typ)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := k.span(tt.key); err == nil {
			t.Errorf("%s %s was accepted", tt.typ, tt.key)
		}
	}
	if _, err := parseKey("ipv4_addr . time"); err == nil {
		t.Error("an unknown type was accepted")
	}
}

// TestElementsCutShort: a list of elements that cannot be read to its end is an
// error, never a shorter list.
func TestElementsCutShort(t *testing.T) {
	element := func(value attrs) attrs {
		var list attrs
		list.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(a *attrs) {
			a.nest(listElem, func(a *attrs) { *a = append(*a, value...) })
		})
		return list
	}
	var good attrs
	good.nest(unix.NFTA_SET_ELEM_KEY, func(a *attrs) { a.bytes(unix.NFTA_DATA_VALUE, []byte{10, 0, 0, 1}) })
	if got, err := parseElements(nil, element(good)); err != nil || len(got) != 1 || string(got[0].key) != "\x0a\x00\x00\x01" {
		t.Errorf("%v, %v", got, err)
	}
	long := attrs{0xff, 0, unix.NFTA_SET_ELEM_KEY, 0} // says that it has 255 bytes
	for _, bad := range []attrs{element(long), element(append(slices.Clone(good), long...))} {
		if got, err := parseElements(nil, bad); err == nil || len(got) > 0 {
			t.Errorf("%v, %v", got, err)
		}
	}
}

// FuzzDecode: whatever stands in messages of the kernel, or in what others wrote
// into our table, is read without harm.
func FuzzDecode(f *testing.F) {
	n := &nft{rules: map[ruleID]datapath.Rule{}}
	u := n.userdata(datapath.Rule{Chain: "c", Index: 7, Match: [6]datapath.Match{{Field: datapath.SAddr4, Value: "@s"}}, Comment: "hello"})
	f.Add(u)
	body := inTable()
	body.nest(3, func(a *attrs) { a.nest(1, func(a *attrs) { a.bytes(1, u) }) })
	f.Add([]byte(body))
	f.Add([]byte{8, 0, 1, 0, 1, 2, 3, 4})
	f.Add([]byte{255, 255, 1, 0})
	key, err := parseKey("ipv4_addr . inet_service")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fresh := &nft{rules: map[ruleID]datapath.Rule{}}
		if r, ok := fresh.identify("c", b); ok && identity(r).chain != "c" {
			t.Errorf("a rule of another chain: %v", r)
		}
		_ = eachMessage(b, func(m nlMessage) { _ = m.err() })
		_, _, _ = parseChain(b)
		_, _, _ = parseSet(b)
		_, _, _, _ = parseRule(b)
		raw, _ := parseElements(nil, b)
		for _, e := range joinEnds(raw) {
			_ = key.text(e.key)
			_ = key.spanText(e.key, e.keyEnd)
		}
		w := watch{devs: map[int32]string{0: datapath.VXLANLink4}, fdbs: &fdbs{}, dests: &dests{}}
		w.routeKinds(b)
		w.neighKinds(b, len(b)%2 == 0)
	})
}
