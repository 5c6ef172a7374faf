package uplink

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/agent/proxy"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// The pairs are told when they stand otherwise, and while a carrier is left also as of
// which revision: nothing else is worth a message of every node.
func TestPathsAreNews(t *testing.T) {
	rungs, more := map[string]uint32{"wireguard": 2}, map[string]uint32{"wireguard": 1, "relayed": 1}
	for _, c := range []struct {
		name string
		was  Paths
		is   Paths
		told bool
	}{
		{"nothing to tell", Paths{}, Paths{Epoch: "e", Revision: 3}, false},
		{"first", Paths{}, Paths{Rungs: rungs}, true},
		{"the same, of a later revision", Paths{Rungs: rungs, Revision: 3}, Paths{Rungs: rungs, Revision: 4}, false},
		{"a pair moves", Paths{Rungs: rungs}, Paths{Rungs: more}, true},
		{"a peer dies", Paths{Rungs: rungs}, Paths{Rungs: rungs, Down: []string{"n2"}}, true},
		{"a later revision while a carrier is left", Paths{Rungs: rungs, Revision: 3, Leaving: true}, Paths{Rungs: rungs, Revision: 4, Leaving: true}, true},
		{"the last has left the old way", Paths{Rungs: rungs, Leaving: true, Old: []string{"n2"}}, Paths{Rungs: rungs, Leaving: true}, true},
	} {
		b, s := newOutbox("n1"), sent{paths: c.was}
		b.setPaths(c.is)
		if got := b.nextPaths(&s); (len(got) > 0) != c.told {
			t.Errorf("%s: told %v", c.name, got)
		}
		if again := b.nextPaths(&s); len(again) > 0 {
			t.Errorf("%s: told twice", c.name)
		}
	}
}

func TestPathsNameSome(t *testing.T) {
	b, s := newOutbox("n1"), sent{}
	b.setPaths(Paths{Epoch: "e", Revision: 7, Leaving: true, Old: slices.Repeat([]string{"n2"}, 100)})
	m := b.nextPaths(&s)[0].GetPaths()
	if m.GetOld() != 100 || len(m.GetOldPeers()) != maxOldPeers || m.GetEpoch() != "e" || m.GetRevision() != 7 {
		t.Errorf("told %v", m)
	}
}

// An offer stands until its cookie ends; one that makes no sense offers nothing.
func TestEchoOffer(t *testing.T) {
	server := netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		name  string
		offer *weftv1.EchoOffer
		via   *proxy.Proxy
		want  Echo
	}{
		{"usual", &weftv1.EchoOffer{Cookie: []byte("c"), Ports: []uint32{7443, 7444}, Seconds: 60}, nil, Echo{Server: server, Ports: []uint16{7443, 7444}}},
		{"by a proxy", &weftv1.EchoOffer{Cookie: []byte("c"), Ports: []uint32{7443}, Seconds: 60}, &proxy.Proxy{}, Echo{Ports: []uint16{7443}}},
		{"no cookie", &weftv1.EchoOffer{Ports: []uint32{7443}, Seconds: 60}, nil, Echo{}},
		{"huge cookie", &weftv1.EchoOffer{Cookie: make([]byte, 65), Ports: []uint32{7443}, Seconds: 60}, nil, Echo{}},
		{"no time", &weftv1.EchoOffer{Cookie: []byte("c"), Ports: []uint32{7443}}, nil, Echo{}},
		{"no ports", &weftv1.EchoOffer{Cookie: []byte("c"), Ports: []uint32{0, 70000}, Seconds: 60}, nil, Echo{}},
		{"many ports", &weftv1.EchoOffer{Cookie: []byte("c"), Ports: []uint32{1, 1, 2, 3, 4, 5}, Seconds: 60}, nil, Echo{Server: server, Ports: []uint16{1, 2, 3, 4}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			u := &Uplink{}
			u.offer(c.offer, link{server: "s1:7443", remote: server, via: c.via})
			got, ok := u.Echo()
			if ok != (len(c.want.Ports) > 0) || got.Server != c.want.Server || !slices.Equal(got.Ports, c.want.Ports) {
				t.Errorf("%s: got %+v, %v", c.name, got, ok)
			}
			time.Sleep(time.Minute)
			if _, still := u.Echo(); still {
				t.Errorf("%s: it stands after its end", c.name)
			}
		})
	}
}
