package echo

import (
	"net/netip"
	"testing"
)

func TestRequest(t *testing.T) {
	want := Request{ID: 7, Cookie: Cookie{1, 2, 31: 9}}
	got, err := ParseRequest(want.Bytes())
	if err != nil || got != want || len(want.Bytes()) != Size {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := ParseReply(want.Bytes()); err == nil {
		t.Error("a request is taken for a reply")
	}
}

func TestReply(t *testing.T) {
	for _, s := range []string{"192.0.2.1:51820", "[2001:db8::1]:1"} {
		want := Reply{ID: 7, Observed: netip.MustParseAddrPort(s)}
		got, err := ParseReply(want.Bytes())
		if err != nil || got != want || len(want.Bytes()) != Size {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
		if _, err := ParseRequest(want.Bytes()); err == nil {
			t.Errorf("%s: a reply is taken for a request", s)
		}
	}
	for _, s := range []string{"0.0.0.0:1", "[::]:1", "192.0.2.1:0"} {
		if _, err := ParseReply(Reply{Observed: netip.MustParseAddrPort(s)}.Bytes()); err == nil {
			t.Errorf("%s is taken for an address", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Request{ID: 1}.Bytes())
	f.Add(Reply{ID: 1, Observed: netip.MustParseAddrPort("192.0.2.1:1")}.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseRequest(b); err == nil {
			if again, err := ParseRequest(r.Bytes()); err != nil || again != r {
				t.Errorf("%+v became %+v, %v", r, again, err)
			}
		}
		if r, err := ParseReply(b); err == nil {
			if again, err := ParseReply(r.Bytes()); err != nil || again != r {
				t.Errorf("%+v became %+v, %v", r, again, err)
			}
		}
	})
}
