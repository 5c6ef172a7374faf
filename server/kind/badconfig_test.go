package kind

import (
	"reflect"
	"strings"
	"testing"
)

// TestEveryFieldOfTheClusterIsGuarded: for each field of ClusterConfig an operator's
// mistakes are refused, the field is named, and it is said what is accepted. A field
// that is added needs a line here.
func TestEveryFieldOfTheClusterIsGuarded(t *testing.T) {
	seen := map[string]bool{}
	for field, mistakes := range map[string][]struct{ value, want string }{
		"clusterCIDRs": {
			{"[]", "is empty; give a range"},
			{"[10.42.0.1/16]", "did you mean 10.42.0.0/16"},
			{"[banana]", "is not a range"},
			{"10.42.0.0/16", "accepted: a list"},
			{"[224.0.0.0/8]", "give a private or global unicast range"},
			{"[10.42.0.0/16, 10.42.9.0/24]", "give ranges that do not overlap"},
			{"[10.42.0.0/31]", "is too small for the lease of a node; give"},
		},
		"serviceCIDRs": {
			{"[10.42.8.0/24]", "give ranges that do not overlap"}, {"[10.43.0.1/16]", "did you mean 10.43.0.0/16"}, {"[127.0.0.0/8]", "give a private or global unicast range"},
		},
		"nodeCIDRMaskSizeIPv4": {{"8", "no /8 fits in 10.42.0.0/16; accepted: 16 to 30"}, {"31", "accepted: 16 to 30"}, {"-1", "accepted: 16 to 30"}, {"wide", "accepted: a whole number"}},
		"nodeCIDRMaskSizeIPv6": {{"130", "accepted: 1 to 126"}, {"wide", "accepted: a whole number"}},
		"backend":              {{"ipsec", "accepted: vxlan, host-gw, none"}, {"VXLAN", "accepted: vxlan"}, {"7", "accepted: "}},
		"directRouting":        {{"maybe", "accepted: true or false"}},
		"vni":                  {{"0", "accepted: 1 to 16777215"}, {"16777216", "accepted: 1 to 16777215"}, {"1", "take another VNI or vxlanPort"}},
		"vxlanPort":            {{"65536", "accepted: 1 to 65535"}, {"51820", "take another, such as 8472"}, {"53", "take another"}},
		"mtu":                  {{"20", "accepted: 576, which IPv4"}, {"65536", "or 0 to derive it from the uplink"}, {"big", "accepted: a whole number"}},
		"masquerade":           {{"sometimes", "accepted: auto, always, never"}},
		"nonMasqueradeCIDRs":   {{"[10.0.0.1/8]", "did you mean 10.0.0.0/8"}, {"[x]", "is not a range"}},
		"maxPrefixesPerNode":   {{"-1", "out of bounds; accepted: 1"}, {"1000", "out of bounds; accepted: 1"}},
	} {
		for _, m := range mistakes {
			spec := field + ": " + m.value
			if field != "clusterCIDRs" {
				spec = "clusterCIDRs: [10.42.0.0/16], " + spec
			}
			_, err := given(t, "{kind: cc, metadata: {name: default}, spec: {"+spec+"}}").Build()
			if err == nil || !strings.Contains(err.Error(), "ClusterConfig/default spec."+field) && !strings.Contains(err.Error(), "spec.clusterCIDRs") || !strings.Contains(err.Error(), m.want) {
				t.Errorf("%s: %s\ngot  %v\nwant %s", field, m.value, err, m.want)
			}
		}
		seen[field] = true
	}
	of := reflect.TypeFor[ClusterConfigSpec]()
	for i := range of.NumField() {
		if name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ","); !seen[name] {
			t.Errorf("no mistake in %s is tried", name)
		}
	}
}
