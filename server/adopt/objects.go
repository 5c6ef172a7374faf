package adopt

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/compile"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// spec is the ClusterConfig that compiles to what agents hold.
func spec(c intent.Cluster, nodes []Node) (kind.ClusterConfigSpec, error) {
	s := kind.ClusterConfigSpec{
		ClusterCIDRs: c.CIDRs, ServiceCIDRs: c.ServiceCIDRs, Backend: string(c.Backend), DirectRouting: c.DirectRouting,
		VNI: c.VNI, VXLANPort: c.VXLANPort, MTU: c.MTU, NonMasqueradeCIDRs: c.NonMasquerade,
		NodeCIDRMaskSize4: usualMask(nodes, true), NodeCIDRMaskSize6: usualMask(nodes, false),
		Encryption: string(c.Encryption), Topology: string(c.Topology), WireGuardPort: c.WireGuardPort, KeyDays: c.KeyDays, PostQuantum: c.PostQuantum,
	}
	for _, mode := range []string{"auto", "always", "never"} {
		s.Masquerade = mode
		if again, err := compile.Cluster(s); err == nil && slices.Equal(again.Masquerade, c.Masquerade) {
			s = s.WithDefaults()
			return s, s.Validate()
		}
	}
	return s, fmt.Errorf("adopt: no mode of masquerade makes of %v what agents hold: %v", c.CIDRs, c.Masquerade)
}

// usualMask is the length of most leases of a family; 0 if there are none.
func usualMask(nodes []Node, is4 bool) int {
	counts := map[int]int{}
	best := 0
	for _, n := range nodes {
		for _, p := range n.Prefixes {
			if p.Addr().Is4() != is4 {
				continue
			}
			counts[p.Bits()]++
			if counts[p.Bits()] > counts[best] {
				best = p.Bits()
			}
		}
	}
	return best
}

// Objects are the plan as a store holds it, by key.
func (p Plan) Objects(now time.Time) (map[string][]byte, error) {
	out := map[string][]byte{}
	put := func(k string, meta kind.Metadata, spec any) error {
		b, err := kind.Encode(k, meta, spec)
		out[kind.Key(k, "", meta.Name)] = b
		return err
	}
	errs := []error{put(kind.ClusterConfig, kind.Metadata{Name: kind.DefaultName, CreatedUnix: now.Unix()}, p.Config)}
	for _, n := range p.Nodes {
		meta := kind.Metadata{Name: n.Node, CreatedUnix: now.Unix()}
		labelled := meta
		labelled.Labels = n.Labels
		errs = append(errs, put(kind.Node, labelled, kind.NodeSpec{}), put(kind.Report, kind.Metadata{Name: n.Node}, n.Report))
		if len(n.Prefixes) > 0 {
			errs = append(errs, put(kind.Lease, meta, kind.LeaseSpec{Node: n.Node, Prefixes: intent.InOrder(intent.Families(p.Config.ClusterCIDRs), n.Prefixes)}))
		}
		errs = append(errs, n.records(out))
	}
	return out, errors.Join(errs...)
}

// records are what is known of a node beside its objects: from when, and what it
// carries that another has.
func (n Node) records(out map[string][]byte) error {
	var errs [2]error
	if len(n.Prefixes) > 0 {
		out[store.Words+n.Node], errs[0] = json.Marshal(struct {
			Point
			Words map[netip.Prefix]Point `json:"words"`
		}{Words: n.Words})
	}
	if len(n.Lost) > 0 {
		out[store.Disputes+n.Node], errs[1] = json.Marshal(struct {
			Prefixes []netip.Prefix `json:"prefixes"`
			Word     Point          `json:"word"`
			Own      bool           `json:"own"`
		}{n.Lost, n.Word, n.Own})
	}
	return errors.Join(errs[0], errs[1])
}
