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

// A decoder with a memory gives what one without gives, whatever came before.
func TestDecoderRemembers(t *testing.T) {
	object := rapid.Custom(func(t *rapid.T) intent.Object {
		switch o := peer(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"), rapid.IntRange(1400, 1402).Draw(t, "mtu")); rapid.IntRange(0, 5).Draw(t, "what") {
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
	})
	rapid.Check(t, func(t *rapid.T) {
		var d intent.Decoder
		for range 5 {
			objects := rapid.SliceOfN(object, 0, 5).Draw(t, "objects")
			got, gotBad := d.Decode("a", "e", 1, 7, objects)
			want, wantBad := intent.Decode("a", "e", 1, 7, objects)
			plain := []cmp.Option{cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.EquateEmpty()}
			if diff := cmp.Diff(want, got, plain...); diff != "" {
				t.Fatal(diff)
			}
			if diff := cmp.Diff(texts(wantBad), texts(gotBad)); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func texts(bad []intent.ObjectError) []string {
	var out []string
	for _, e := range bad {
		out = append(out, e.Error())
	}
	return out
}
