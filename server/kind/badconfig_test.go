package kind

import (
	"reflect"
	"strings"
	"testing"
)

// mistake is what somebody gives a field, and what the answer must hold. It names
// the field itself, unless field names the one that is at fault.
type mistake struct{ value, want, field string }

// mistakes are an operator's, for each field of ClusterConfig.
var mistakes = map[string][]mistake{
	"clusterCIDRs": {
		{"[100.64.0.0/16], backend: tailscale", "100.64.0.0/16 overlaps 100.64.0.0/10, from which a tailnet gives its members their addresses; take another range, or another backend", "[0]"},
		{"[]", "is empty; give a range", ""},
		{"null", "is empty; give a range", ""},
		{"[10.42.0.1/16]", "did you mean 10.42.0.0/16", "[0]"},
		{"[banana]", "is not a range", "[0]"},
		{"[10.42.0.0]", "write it as 10.42.0.0/32, or with a shorter length", "[0]"},
		{"['::ffff:10.42.0.0/112']", "write it as IPv4", "[0]"},
		{"10.42.0.0/16", "accepted: a list", ""},
		{"{a: b}", "accepted: a list", ""},
		{"[224.0.0.0/8]", "give a private or global unicast range", "[0]"},
		{"[169.254.0.0/16]", "give a private or global unicast range", "[0]"},
		{"[127.0.0.0/16]", "give a private or global unicast range", "[0]"},
		{"['fe80::/10']", "give a private or global unicast range", "[0]"},
		{"[10.42.0.0/16, 10.42.9.0/24]", "give ranges that do not overlap", "[1]"},
		{"[10.42.0.0/16, 10.42.0.0/16]", "give ranges that do not overlap", "[1]"},
		{"[10.42.0.0/31]", "is too small for the lease of a node; give", ""},
		{"[" + strings.TrimSuffix(strings.Repeat("10.42.0.0/16, ", maxCIDRs+1), ", ") + "]", "at most 32 are accepted", ""},
	},
	"serviceCIDRs": {
		{"[100.100.0.0/16], backend: tailscale", "100.100.0.0/16 overlaps 100.64.0.0/10", "[0]"},
		{"[10.42.8.0/24]", "give ranges that do not overlap", "[0]"},
		{"[10.43.0.1/16]", "did you mean 10.43.0.0/16", "[0]"},
		{"[127.0.0.0/8]", "give a private or global unicast range", "[0]"},
		{"10.43.0.0/16", "accepted: a list", ""},
		{"[ten]", "is not a range", "[0]"},
	},
	"nodeCIDRMaskSizeIPv4": {
		{"8", "no /8 fits in 10.42.0.0/16; accepted: 16 to 30", ""},
		{"31", "accepted: 16 to 30", ""},
		{"-1", "accepted: 16 to 30", ""},
		{"24.5", "accepted: a whole number", ""},
		{"wide", "accepted: a whole number", ""},
		{"/24", "accepted: a whole number", ""},
		{"[24]", "accepted: a whole number", ""},
	},
	"nodeCIDRMaskSizeIPv6": {
		{"130", "accepted: 1 to 126", ""},
		{"127", "accepted: 1 to 126", ""},
		{"-64", "accepted: 1 to 126", ""},
		{"wide", "accepted: a whole number", ""},
	},
	"backend": {
		{"ipsec", "accepted: vxlan, host-gw, wireguard, auto, tailscale, none", ""},
		{"VXLAN", "accepted: vxlan", ""},
		{"7", "accepted: ", ""},
		{"[vxlan]", "accepted: ", ""},
		{"wireguard-native", "accepted: vxlan, host-gw, wireguard", ""},
	},
	"directRouting": {
		{"maybe", "accepted: true or false", ""},
		{"'true'", "accepted: true or false", ""},
		{"1", "accepted: true or false", ""},
	},
	"vni": {
		{"0", "accepted: 1 to 16777215", ""},
		{"16777216", "accepted: 1 to 16777215", ""},
		{"-1", "accepted: ", ""},
		{"1", "take another VNI or vxlanPort", ""},
		{"0x1000000000", "accepted: ", ""},
		{"many", "accepted: a whole number", ""},
	},
	"vxlanPort": {
		{"0", "accepted: 1 to 65535", ""},
		{"65536", "accepted: 1 to 65535", ""},
		{"-8472", "accepted: 1 to 65535", ""},
		{"51820", "take another, such as 8472", ""},
		{"51821", "is WireGuard's; take another, such as 8472", ""},
		{"7443", "take another, such as 8472", ""},
		{"53", "take another", ""},
		{"udp/8472", "accepted: a whole number", ""},
	},
	"mtu": {
		{"20", "accepted: 576, which IPv4", ""},
		{"-1", "accepted: 576", ""},
		{"65536", "or 0 to derive it from the uplink", ""},
		{"big", "accepted: a whole number", ""},
		{"1400.5", "accepted: a whole number", ""},
	},
	"masquerade": {
		{"sometimes", "accepted: auto, always, never", ""},
		{"Auto", "accepted: auto, always, never", ""},
		{"true", "accepted: ", ""},
	},
	"nonMasqueradeCIDRs": {
		{"[10.0.0.1/8]", "did you mean 10.0.0.0/8", "[0]"},
		{"[x]", "is not a range", "[0]"},
		{"10.0.0.0/8", "accepted: a list", ""},
	},
	"egressSelectorMode": {
		{"nodes", "accepted: disabled, agent, pod, cluster", ""},
		{"Agent", "accepted: disabled, agent, pod, cluster", ""},
		{"true", "accepted: ", ""},
	},
	"egressFallback": {
		{"open", "accepted: closed, direct", ""},
		{"Direct", "accepted: closed, direct", ""},
		{"false", "accepted: ", ""},
	},
	"encryption": {
		{"sometimes", "accepted: never, untrusted, always", ""},
		{"Always", "accepted: never, untrusted, always", ""},
		{"true", "accepted: a text", ""},
		{"always", "always, and backend vxlan sends in the clear; accepted: backend wireguard, or auto, with it", ""},
		{"always, backend: host-gw", "backend host-gw sends in the clear", ""},
		{"never, backend: tailscale", "never, and backend tailscale encrypts everything; accepted: backend auto with it", ""},
		{"never, backend: wireguard", "never, and backend wireguard encrypts everything; accepted: backend auto with it", ""},
	},
	"topology": {
		{"star", "accepted: full, site-gateways", ""},
		{"Full", "accepted: full, site-gateways", ""},
		{"Full", "did you mean full", ""},
		{"site-gateways", "site-gateways, and with backend vxlan no pair chooses its way; accepted: backend wireguard or auto with it, or full", ""},
		{"site-gateways, backend: tailscale", "with backend tailscale no pair chooses its way", ""},
		{"[full]", "accepted: a text", ""},
	},
	"wireguardPort": {
		{"0", "accepted: 1 to 65535", ""},
		{"65535", "the second device has the next port; accepted: 1 to 65534", ""},
		{"65536", "accepted: 1 to 65535", ""},
		{"-1", "accepted: 1 to 65535", ""},
		{"53", "is DNS's; take another, such as 51820", ""},
		{"7442", "the second device has the next port, and 7443 is the servers' echo; take another", ""},
		{"7448", "is that of agents which agree on pre-shared keys; take another, such as 51820", ""},
		{"7449", "is that of nodes which relay; take another, such as 51820", ""},
		{"8472", "WireGuard has 8472 and 8473, and VXLAN 8472; take another, such as 51820", ""},
		{"8471", "WireGuard has 8471 and 8472, and VXLAN 8472; take another", ""},
		{"udp/51820", "accepted: a whole number", ""},
	},
	"keyDays": {
		{"-1", "accepted: 1 to 3650, or 0 for never", ""},
		{"3651", "accepted: 1 to 3650", ""},
		{"often", "accepted: a whole number", ""},
		{"1.5", "accepted: a whole number", ""},
	},
	"postQuantum": {
		{"'yes'", "accepted: true or false", ""},
		{"1", "accepted: true or false", ""},
		{"ml-kem-768", "accepted: true or false", ""},
		{"true", "backend vxlan encrypts nothing", ""},
	},
	"maxPrefixesPerNode": {
		{"-1", "out of bounds; accepted: 1", ""},
		{"1000", "out of bounds; accepted: 1", ""},
		{"some", "accepted: a whole number", ""},
	},
}

// TestEveryFieldOfTheClusterIsGuarded: for each field of ClusterConfig an operator's
// mistakes are refused, the field is named, and it is said what is accepted. A field
// that is added needs a line here.
func TestEveryFieldOfTheClusterIsGuarded(t *testing.T) {
	of := reflect.TypeFor[ClusterConfigSpec]()
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		if len(mistakes[name]) < 3 {
			t.Errorf("only %d mistakes in %s are tried", len(mistakes[name]), name)
		}
	}
	for field, list := range mistakes {
		for _, m := range list {
			spec := field + ": " + m.value
			if field != "clusterCIDRs" {
				spec = "clusterCIDRs: [10.42.0.0/16], " + spec
			}
			_, err := given(t, "{kind: cc, metadata: {name: default}, spec: {"+spec+"}}").Build()
			if err == nil || !strings.Contains(err.Error(), "ClusterConfig/default spec."+field+m.field+":") || !strings.Contains(err.Error(), m.want) {
				t.Errorf("%s: %s\ngot  %v\nwant %s", field, m.value, err, m.want)
			}
		}
	}
}

// TestAMistakeIsNotHalfTaken: one wrong field among right ones refuses all of it,
// and does not hide another mistake.
func TestAMistakeIsNotHalfTaken(t *testing.T) {
	for field, list := range mistakes {
		if field == "clusterCIDRs" || field == "mtu" {
			continue
		}
		for _, m := range list {
			o, err := given(t, "{kind: cc, metadata: {name: default}, spec: {clusterCIDRs: [10.42.0.0/16], mtu: 20, "+field+": "+m.value+"}}").Build()
			if err == nil || o.Spec != nil {
				t.Errorf("%s: %s: %v beside %v", field, m.value, o.Spec, err)
				continue
			}
			if !strings.Contains(err.Error(), "spec."+field) {
				t.Errorf("%s: %s is not named beside another mistake: %v", field, m.value, err)
			}
		}
	}
}
