package admin

import (
	"testing"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// FuzzEdit: an object as it comes over the wire is refused in words, or becomes
// one that can be stored, read and shown again.
func FuzzEdit(f *testing.F) {
	seed := func(k, name string, spec map[string]any) {
		s, err := structpb.NewStruct(spec)
		if err != nil {
			f.Fatal(err)
		}
		b, err := proto.Marshal(&weftv1.Resource{ApiVersion: kind.APIVersion, Kind: k, Metadata: &weftv1.Metadata{Name: name, Labels: map[string]string{"site": "fra"}}, Spec: s})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
		f.Add(b, false)
	}
	seed("ClusterConfig", "default", map[string]any{"clusterCIDRs": []any{"10.42.0.0/16", "fd42:42::/48"}, "mtu": 1400, "directRouting": true})
	seed("cc", "default", map[string]any{"clusterCIDRs": nil, "vni": 1.5})
	seed("Lease", "n7", map[string]any{"prefixes": []any{"10.42.7.0/24"}})
	seed("Node", "n1", map[string]any{})
	seed("Endpoint", "n1/c1/eth0", nil)
	f.Fuzz(func(t *testing.T, b []byte, merge bool) {
		item := &weftv1.Resource{}
		if proto.Unmarshal(b, item) != nil {
			return
		}
		v := newView()
		v.node("n1").observed = true
		e, err := v.edit(item, merge)
		if err != nil {
			if answer(err) == nil || err.Error() == "" {
				t.Errorf("refused without a word: %#v", err)
			}
			return
		}
		encoded, err := kind.Encode(e.after.Kind, e.after.Metadata, e.after.Spec)
		if err != nil {
			t.Fatalf("%s cannot be stored: %v", e.key, err)
		}
		var spec any
		back, err := kind.Decode(encoded, &spec)
		if err != nil {
			t.Fatalf("%s cannot be read again: %v", encoded, err)
		}
		if _, err := resource(back, 1, nil); err != nil {
			t.Errorf("%s cannot be shown: %v", encoded, err)
		}
	})
}

// FuzzSelection: what List and Watch are asked for.
func FuzzSelection(f *testing.F) {
	f.Add("nodes", "", "site=fra,tier in (a,b),!old")
	f.Add("ep", "shop", "a!=b")
	f.Add("", "", "===")
	f.Fuzz(func(t *testing.T, name, namespace, selector string) {
		if p, err := newSelection(name, namespace, selector); err == nil {
			p.has(&weftv1.Resource{Metadata: &weftv1.Metadata{Namespace: namespace, Labels: map[string]string{"site": "fra"}}})
		}
	})
}
