package intent_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/weft-net/weft/proto/intent"
	"pgregory.net/rapid"
)

func peer(name string, mtu int) intent.Object {
	return intent.Object{
		Collection: intent.CollectionPeers, Key: intent.PeerKey(name),
		Value: intent.EncodePeer(intent.Peer{
			Name:     name,
			Underlay: []intent.Underlay{{Addr: netip.MustParsePrefix("192.0.2.1/24"), Device: "eth0", MTU: mtu}},
		}),
	}
}

func drawObject(t *rapid.T) intent.Object {
	switch o := peer(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name"), rapid.IntRange(1400, 1402).Draw(t, "mtu")); rapid.IntRange(0, 5).Draw(t, "what") {
	case 0:
		o.Collection = "later"
		return o
	case 1:
		o.Value = []byte("\xff")
		return o
	case 2:
		o.Key = "Node//other"
		return o
	case 3:
		return intent.Object{Collection: intent.CollectionCluster, Key: intent.KeyCluster, Value: intent.EncodeCluster(intent.Cluster{Backend: intent.HostGW, MTU: 1400})}
	default:
		return o
	}
}

// Whatever changes led to a set, it is the one that its objects make at once, and
// the sets that it came from are what they were.
func TestASetIsItsObjects(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s *intent.Set
		now := map[intent.ID]intent.Object{}
		for range rapid.IntRange(0, 8).Draw(t, "steps") {
			before, told := s, s.Objects()
			changes := map[intent.ID]*intent.Item{}
			for range rapid.IntRange(0, 4).Draw(t, "changes") {
				o := rapid.Custom(drawObject).Draw(t, "object")
				if rapid.Bool().Draw(t, "gone") {
					changes[o.ID()] = nil
					delete(now, o.ID())
					continue
				}
				changes[o.ID()], now[o.ID()] = intent.Read(o), o
			}
			s = s.With(changes)
			if diff := cmp.Diff(told, before.Objects()); diff != "" {
				t.Fatalf("the set before changed: %s", diff)
			}
		}
		var objects []intent.Object
		bytes := 0
		for _, o := range now {
			objects, bytes = append(objects, o), bytes+o.Weight()
		}
		want, _ := intent.NewSet(objects)
		if s.Digest() != want.Digest() || s.Len() != len(now) || s.Bytes() != bytes {
			t.Fatalf("digest %x of %x, %d objects of %d, %d bytes of %d", s.Digest(), want.Digest(), s.Len(), len(now), s.Bytes(), bytes)
		}
		plain := []cmp.Option{cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.EquateEmpty()}
		got, wanted := s.Node("a", "e", 1, 7), want.Node("a", "e", 1, 7)
		if diff := cmp.Diff(wanted, got, plain...); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(texts(want.Bad()), texts(s.Bad())); diff != "" {
			t.Fatal(diff)
		}
		for id, o := range now {
			if it := s.Find(id); it == nil || !cmp.Equal(it.Object, o) {
				t.Fatalf("%v: %v", id, it)
			}
		}
	})
}

// Two sets that differ in one byte, in a name or in an object have other digests.
func TestDigestsTellSetsApart(t *testing.T) {
	seen := map[uint64]string{0: "nothing"}
	for name, objects := range map[string][]intent.Object{
		"a peer":           {{Collection: "peers", Key: "k", Value: []byte("v")}},
		"another value":    {{Collection: "peers", Key: "k", Value: []byte("w")}},
		"no value":         {{Collection: "peers", Key: "k"}},
		"another key":      {{Collection: "peers", Key: "kv"}},
		"another border":   {{Collection: "peersk", Key: "v"}},
		"two":              {{Collection: "peers", Key: "k", Value: []byte("v")}, {Collection: "peers", Key: "kv"}},
		"values exchanged": {{Collection: "peers", Key: "k"}, {Collection: "peers", Key: "kv", Value: []byte("v")}},
	} {
		s, _ := intent.NewSet(objects)
		if other, is := seen[s.Digest()]; is {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[s.Digest()] = name
	}
	one, _ := intent.NewSet([]intent.Object{{Collection: "peers", Key: "k", Revision: 1}})
	later, _ := intent.NewSet([]intent.Object{{Collection: "peers", Key: "k", Revision: 2}})
	if one.Digest() != later.Digest() {
		t.Error("a revision counts")
	}
}

func texts(bad []intent.ObjectError) []string {
	var out []string
	for _, e := range bad {
		out = append(out, e.Error())
	}
	return out
}
