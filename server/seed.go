package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// Seed is the cluster-wide settings of the command line. They make the
// ClusterConfig of an empty store; later they must agree with it.
type Seed struct {
	Spec  kind.ClusterConfigSpec
	Given map[string]string // flags that were given, to where: "--backend", "WEFT_BACKEND", …
}

// settings ties flags to fields.
var settings = []struct {
	flag  string
	field string
	text  func(kind.ClusterConfigSpec) string // as in YAML
}{
	{"cluster-cidr", "clusterCIDRs", func(s kind.ClusterConfigSpec) string { return list(s.ClusterCIDRs) }},
	{"service-cidr", "serviceCIDRs", func(s kind.ClusterConfigSpec) string { return list(s.ServiceCIDRs) }},
	{"node-cidr-mask-size-ipv4", "nodeCIDRMaskSizeIPv4", func(s kind.ClusterConfigSpec) string { return fmt.Sprint(s.NodeCIDRMaskSize4) }},
	{"node-cidr-mask-size-ipv6", "nodeCIDRMaskSizeIPv6", func(s kind.ClusterConfigSpec) string { return fmt.Sprint(s.NodeCIDRMaskSize6) }},
	{"backend", "backend", func(s kind.ClusterConfigSpec) string { return s.Backend }},
	{"direct-routing", "directRouting", func(s kind.ClusterConfigSpec) string { return fmt.Sprint(s.DirectRouting) }},
	{"vni", "vni", func(s kind.ClusterConfigSpec) string { return fmt.Sprint(s.VNI) }},
	{"vxlan-port", "vxlanPort", func(s kind.ClusterConfigSpec) string { return fmt.Sprint(s.VXLANPort) }},
	{"mtu", "mtu", func(s kind.ClusterConfigSpec) string { return fmt.Sprint(s.MTU) }},
	{"masquerade", "masquerade", func(s kind.ClusterConfigSpec) string { return s.Masquerade }},
	{"non-masquerade-cidrs", "nonMasqueradeCIDRs", func(s kind.ClusterConfigSpec) string { return list(s.NonMasqueradeCIDRs) }},
	{"egress-selector-mode", "egressSelectorMode", func(s kind.ClusterConfigSpec) string { return s.EgressSelectorMode }},
	{"egress-fallback", "egressFallback", func(s kind.ClusterConfigSpec) string { return s.EgressFallback }},
	{"encryption", "encryption", func(s kind.ClusterConfigSpec) string { return s.Encryption }},
	{"topology", "topology", func(s kind.ClusterConfigSpec) string { return s.Topology }},
	{"wireguard-port", "wireguardPort", func(s kind.ClusterConfigSpec) string { return fmt.Sprint(s.WireGuardPort) }},
	{"key-days", "keyDays", func(s kind.ClusterConfigSpec) string { return fmt.Sprint(s.KeyDays) }},
	{"post-quantum", "postQuantum", func(s kind.ClusterConfigSpec) string { return fmt.Sprint(s.PostQuantum) }},
}

func list(ps []netip.Prefix) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// sow writes the first ClusterConfig, or compares the flags with the one there
// is and with what they made once. It answers with the flags that an apply has
// overtaken since.
func sow(ctx context.Context, s store.Store, seed Seed, own []netip.Addr) (overtaken []string, err error) {
	key := kind.Key(kind.ClusterConfig, "", kind.DefaultName)
	e, err := s.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return plant(ctx, s, key, seed, own)
	}
	if err != nil {
		return nil, fmt.Errorf("server: read ClusterConfig: %w", err)
	}
	var stored kind.ClusterConfigSpec
	if _, err := kind.Decode(e.Value, &stored); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	stored = stored.WithDefaults()
	sown, known, err := readSeed(ctx, s)
	if err != nil {
		return nil, err
	}
	if overtaken, err = compare(stored, sown, seed); err != nil || known {
		return overtaken, err
	}
	b, err := json.Marshal(stored)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if err := missing(ctx, s, store.Seed, store.Write{Key: store.Seed, Value: b}); err != nil {
		return nil, fmt.Errorf("server: keep what the flags agreed with: %w", err)
	}
	return overtaken, nil
}

// sow sows the store of a server, and says which flags count no more.
func (c Config) sow(ctx context.Context, s store.Store) error {
	overtaken, err := sow(ctx, s, c.Seed, c.NodeIPs)
	if len(overtaken) > 0 {
		c.Log.Info("flags are as at the first start, and the cluster's settings moved on since", note.Why, strings.Join(overtaken, "; "))
	}
	return err
}

// readSeed reads what the flags made once; the zero spec when nobody knows.
func readSeed(ctx context.Context, s store.Store) (sown kind.ClusterConfigSpec, known bool, err error) {
	e, err := s.Get(ctx, store.Seed)
	if errors.Is(err, store.ErrNotFound) {
		return sown, false, nil
	}
	if err != nil {
		return sown, false, fmt.Errorf("server: read the seed: %w", err)
	}
	sown, err = decodeSeed(e.Value)
	return sown, err == nil, err
}

// decodeSeed reads what is kept at store.Seed; nothing at all is the zero spec.
func decodeSeed(b []byte) (sown kind.ClusterConfigSpec, err error) {
	if len(b) == 0 {
		return sown, nil
	}
	if err := json.Unmarshal(b, &sown); err != nil {
		return sown, fmt.Errorf("server: %s: %w; it may be of a newer release", store.Seed, err)
	}
	return sown.WithDefaults(), nil
}

func plant(ctx context.Context, s store.Store, key string, seed Seed, own []netip.Addr) ([]string, error) {
	spec := seed.Spec.WithDefaults() // as of now, for good: a later release may have others
	if err := spec.Validate(); err != nil {
		return nil, fmt.Errorf("server: the cluster's settings (flags, WEFT_*, or the configuration file): %w", err)
	}
	for _, a := range own {
		for _, p := range slices.Concat(spec.ClusterCIDRs, spec.ServiceCIDRs) {
			if p.Contains(a) {
				return nil, fmt.Errorf("server: node address %v lies in %v, which is for pods and services; choose another --cluster-cidr or --service-cidr", a, p)
			}
		}
	}
	b, err := kind.Encode(kind.ClusterConfig, kind.Metadata{Name: kind.DefaultName, CreatedUnix: time.Now().Unix()}, spec)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	sown, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	_, err = s.Commit(ctx, store.Txn{If: []store.Cond{{Key: key}}, Then: []store.Write{{Key: key, Value: b}, {Key: store.Seed, Value: sown}}})
	if errors.Is(err, store.ErrConflict) { // another server was first
		return sow(ctx, s, seed, own)
	}
	if err != nil {
		return nil, fmt.Errorf("server: write ClusterConfig: %w", err)
	}
	return nil, nil
}

// compare refuses flags that say other than what is stored, unless they are as
// they were when they made it: whoever keeps them as they were is not stopped by
// an apply since. It is asked by each server at each start, the first of a fabric
// and one that joins it alike. sown is zero when that is not known.
func compare(stored, sown kind.ClusterConfigSpec, seed Seed) (overtaken []string, err error) {
	given := seed.Spec.WithDefaults()
	known := len(sown.ClusterCIDRs) > 0
	var says, fields []string
	for _, f := range settings {
		origin, ok := seed.Given[f.flag]
		switch now, want := f.text(stored), f.text(given); {
		case !ok || now == want:
		case known && want == f.text(sown):
			overtaken = append(overtaken, fmt.Sprintf("%s says %s, the cluster runs with %s", origin, want, now))
		default:
			says = append(says, fmt.Sprintf("  %s says %s, the cluster runs with %s", origin, want, now))
			fields = append(fields, f.field+": "+quoted(want))
		}
	}
	if len(says) == 0 {
		return overtaken, nil
	}
	return nil, fmt.Errorf(`server: settings of the cluster count at its first start only, and these differ:
%s
remove them to go on with what runs. To change the cluster, remove them, start, and run:
echo '{apiVersion: %s, kind: %s, metadata: {name: %s}, spec: {%s}}' | weft apply -f -`, strings.Join(says, "\n"), kind.APIVersion, kind.ClusterConfig, kind.DefaultName, strings.Join(fields, ", "))
}

// quoted makes a text safe inside YAML's braces: an IPv6 prefix holds colons.
func quoted(text string) string {
	inner, isList := strings.CutPrefix(text, "[")
	if !isList {
		return text
	}
	if text == "[]" {
		return text
	}
	items := strings.Split(strings.TrimSuffix(inner, "]"), ", ")
	return `["` + strings.Join(items, `", "`) + `"]`
}
