package kind

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// given is what an operator wrote, as it comes from the wire.
func given(t *testing.T, text string) Given {
	t.Helper()
	var d struct {
		APIVersion string          `json:"apiVersion"`
		Kind       string          `json:"kind"`
		Metadata   Metadata        `json:"metadata"`
		Spec       json.RawMessage `json:"spec"`
	}
	if err := yaml.UnmarshalStrict([]byte(text), &d); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return Given{APIVersion: d.APIVersion, Kind: d.Kind, Name: d.Metadata.Name, Namespace: d.Metadata.Namespace, Labels: d.Metadata.Labels, Spec: d.Spec}
}

func TestBuild(t *testing.T) {
	const cc = "{kind: ClusterConfig, metadata: {name: default}, spec: {clusterCIDRs: [10.42.0.0/16, 'fd42:42::/48']%s}}"
	config := func(more string) string { return fmt.Sprintf(cc, more) }
	ranges := func(list string) string {
		return "{kind: cc, metadata: {name: default}, spec: {clusterCIDRs: [" + list + "]}}"
	}
	lease := func(prefixes string) string {
		return "{kind: Lease, metadata: {name: n7}, spec: {prefixes: [" + prefixes + "]}}"
	}
	policy := func(spec string) string { return "{kind: egp, metadata: {name: web}, spec: {" + spec + "}}" }
	for _, c := range []struct{ in, want string }{
		// OK: the stored spec.
		{config(""), `"backend":"vxlan"`},
		{config(""), `"nodeCIDRMaskSizeIPv4":24,"nodeCIDRMaskSizeIPv6":64`},
		{config(", vni: 100, vxlanPort: 4789"), `"vni":100,"vxlanPort":4789`},
		{config(", backend: wireguard-native"), "it is K3s's word for wireguard, write that; accepted: vxlan, "},
		{config(", backend: auto, topology: site-gateways"), `"topology":"site-gateways"`},
		{config(", backend: AUTO"), "did you mean auto; accepted: vxlan, "},
		{config(", vni: 1, vxlanPort: 4789"), `"vni":1,`},
		{config(", mtu: 1400.0"), `"mtu":1400`},
		{config(", backend: null"), `"backend":"vxlan"`},
		{config(", serviceCIDRs: [10.43.0.0/16]"), `"serviceCIDRs":["10.43.0.0/16"]`},
		{config(", nonMasqueradeCIDRs: [10.42.0.0/8, 169.254.0.0/16]"), "spec.nonMasqueradeCIDRs[0]: 10.42.0.0/8 has host bits; did you mean 10.0.0.0/8"},
		{config(", nonMasqueradeCIDRs: [169.254.0.0/16]"), `"nonMasqueradeCIDRs":["169.254.0.0/16"]`},
		{ranges("'fd42::/56'"), `"clusterCIDRs":["fd42::/56"]`},
		{lease("10.42.7.0/24"), `{"node":"n7","prefixes":["10.42.7.0/24"]}`},
		{"{kind: 'no', metadata: {name: n7, labels: {site: fra}}}", "{}"},

		// All that is wrong at once, and nothing that only follows from it.
		{config(", backnd: x, mtu: 20, vni: 99999999, serviceCIDRs: [10.42.0.1/32, 7]"), "ClusterConfig/default spec.serviceCIDRs[1]: 7 is not accepted; accepted: a range such as 10.42.0.0/16\n" +
			"ClusterConfig/default spec.backnd: is not a field; did you mean backend\n" +
			"ClusterConfig/default spec.serviceCIDRs[0]: 10.42.0.1/32 overlaps spec.clusterCIDRs[0] 10.42.0.0/16; give ranges that do not overlap\n" +
			"ClusterConfig/default spec.vni: 99999999 is out of bounds; accepted: 1 to 16777215\n" +
			"ClusterConfig/default spec.mtu: 20 is out of bounds"},

		// Fields.
		{config(", backnd: vxlan"), "ClusterConfig/default spec.backnd: is not a field; did you mean backend"},
		{config(", clustercidrs: []"), "spec.clustercidrs: is not a field; did you mean clusterCIDRs"},
		{config(", wings: 2"), "spec.wings: is not a field; accepted: clusterCIDRs, serviceCIDRs,"},
		{config(", mtu: big"), `ClusterConfig/default spec.mtu: "big" is not accepted; accepted: a whole number`},
		{config(", mtu: 1400.5"), "spec.mtu: 1400.5 is not accepted; accepted: a whole number"},
		{config(", mtu: 1e30"), "spec.mtu: 1e+30 is out of bounds"},
		{config(", vni: -1"), "spec.vni: -1 is out of bounds"},
		{config(", vni: 16777216"), "spec.vni: 16777216 is out of bounds; accepted: 1 to 16777215"},
		{config(", vni: 1"), "spec.vni: 1 on UDP 8472 is Flannel's"},
		{config(", vxlanPort: 65536"), "spec.vxlanPort: 65536 is out of bounds; accepted: 1 to 65535"},
		{config(", vni: 0"), "spec.vni: 0 is out of bounds; accepted: 1 to 16777215; leave the field away for its default"},
		{config(", mtu: 1279"), "spec.mtu: 1279 is out of bounds; accepted: 1280, which IPv6 (RFC 8200) needs, to 65535, or 0"},
		{config(", directRouting: 'yes'"), `spec.directRouting: "yes" is not accepted; accepted: true or false`},
		{config(", backend: ipsec"), `spec.backend: "ipsec" is not a backend of this release; accepted: vxlan, host-gw, wireguard, auto, tailscale, none`},
		{config(", masquerade: sometimes"), `spec.masquerade: "sometimes" is not accepted; accepted: auto, always, never`},
		{config(", nodeCIDRMaskSizeIPv4: 15"), "spec.nodeCIDRMaskSizeIPv4: no /15 fits in 10.42.0.0/16; accepted: 16 to 30"},
		{config(", nodeCIDRMaskSizeIPv4: 31"), "no /31 fits in 10.42.0.0/16; accepted: 16 to 30"},
		{config(", nodeCIDRMaskSizeIPv6: 40"), "no /40 fits in fd42:42::/48; accepted: 48 to 126"},
		{config(", serviceCIDRs: [10.42.128.0/17]"), "spec.serviceCIDRs[0]: 10.42.128.0/17 overlaps spec.clusterCIDRs[0] 10.42.0.0/16"},

		// Ranges.
		{ranges("10.42.0.1/16"), "ClusterConfig/default spec.clusterCIDRs[0]: 10.42.0.1/16 has host bits; did you mean 10.42.0.0/16"},
		{ranges("10.42.0.0/16, 10.42.3.0/24"), "spec.clusterCIDRs[1]: 10.42.3.0/24 overlaps spec.clusterCIDRs[0] 10.42.0.0/16"},
		{ranges("10.42.0.0"), "spec.clusterCIDRs[0]: 10.42.0.0 has no length; write it as 10.42.0.0/32, or with a shorter length"},
		{ranges("banana"), `spec.clusterCIDRs[0]: "banana" is not a range`},
		{ranges("10.42.0.0/33"), `"10.42.0.0/33" is not a range`},
		{ranges("42"), "spec.clusterCIDRs[0]: 42 is not accepted; accepted: a range such as 10.42.0.0/16"},
		{ranges("null"), "spec.clusterCIDRs[0]: is null; leave it out"},
		{ranges(""), "spec.clusterCIDRs: is empty"},
		{ranges("10.42.0.0/31"), "spec.clusterCIDRs: 10.42.0.0/31 is too small"},
		{ranges("169.254.0.0/16"), "169.254.0.0/16 overlaps 169.254.0.0/16, link-local"},
		{ranges("'fe80::/16'"), "link-local (RFC 4291"},
		{ranges("239.0.0.0/8"), "multicast"},
		{ranges("127.0.0.0/8"), "loopback"},
		{ranges("'ff00::/8'"), "multicast"},
		{ranges("'::ffff:10.42.0.0/112'"), "IPv4 mapped into IPv6"},
		{"{kind: cc, metadata: {name: default}, spec: {clusterCIDRs: 10.42.0.0/16}}", `spec.clusterCIDRs: "10.42.0.0/16" is not accepted; accepted: a list`},
		{"{kind: cc, metadata: {name: default}, spec: 7}", "spec: 7 is not accepted; accepted: a set of fields"},

		// Leases.
		{lease(""), "Lease/n7 spec.prefixes: is empty"},
		{lease("10.42.7.1/24"), "Lease/n7 spec.prefixes[0]: 10.42.7.1/24 has host bits; did you mean 10.42.7.0/24"},
		{lease("10.42.7.0/24, 10.42.7.0/25"), "spec.prefixes[1]: 10.42.7.0/25 overlaps 10.42.7.0/24 of the same lease"},
		{lease("10.42.7.0/31"), "spec.prefixes[0]: 10.42.7.0/31 is too small for a node"},
		{"{kind: Lease, metadata: {name: n7}, spec: {node: n8, prefixes: [10.42.7.0/24]}}", `spec.node: "n8" is not the lease's name`},

		// Policies of egress.
		{policy("allow: [{cidr: 10.9.0.0/16, ports: [80, '8000-8100']}]"), `{"allow":[{"cidr":"10.9.0.0/16","ports":[80,"8000-8100"]}]}`},
		{policy("onlyListed: true"), `{"onlyListed":true}`},
		{policy("nodes: [n1], nodeSelector: 'site=home,!old', users: [bob], roles: [local], deny: [{host: '*.example.com'}]"), `{"nodes":["n1"],"nodeSelector":"site=home,!old","users":["bob"],"roles":["local"],"deny":[{"host":"*.example.com"}]}`},
		{policy("allow: [{cidr: 169.254.169.254/32}]"), `"cidr":"169.254.169.254/32"`},
		{policy("deny: [{cidr: 127.0.0.0/8}]"), `"cidr":"127.0.0.0/8"`},
		{policy("allow: [{cidr: 0.0.0.0/0}]"), `"cidr":"0.0.0.0/0"`},
		{policy(""), "EgressPolicy/web spec: says nothing; give allow, deny or onlyListed"},
		{policy("alow: []"), "EgressPolicy/web spec.alow: is not a field; did you mean allow"},
		{policy("allow: [{cdir: 10.9.0.0/16}]"), "EgressPolicy/web spec.allow[0].cdir: is not a field; accepted: cidr, host, ports"},
		{policy("allow: [{}]"), "EgressPolicy/web spec.allow[0].cidr: is missing; give cidr or host"},
		{policy("allow: [{cidr: 10.9.0.0/16, host: a.example.com}]"), "spec.allow[0].host: stands beside cidr"},
		{policy("allow: [{cidr: 10.9.0.1/16}]"), "spec.allow[0].cidr: 10.9.0.1/16 has host bits; did you mean 10.9.0.0/16"},
		{policy("allow: [{cidr: 10.9.0.1}]"), "spec.allow[0].cidr: 10.9.0.1 has no length; write it as 10.9.0.1/32"},
		{policy("allow: [{cidr: '::ffff:10.9.0.0/112'}]"), "spec.allow[0].cidr: ::ffff:10.9.0.0/112 is IPv4 mapped into IPv6"},
		{policy("allow: [{cidr: 127.0.0.0/8}]"), "spec.allow[0].cidr: 127.0.0.0/8 opens nothing: it is loopback (RFC 1122, section 3.2.1.3), and such an address is dialled only where it is named itself; write those that are meant, such as 127.0.0.0/32"},
		{policy("allow: [{cidr: 169.254.169.0/24}]"), "opens nothing"},
		{policy("allow: [{host: 10.9.0.1}]"), "spec.allow[0].host: \"10.9.0.1\" is an address; write it as cidr"},
		{policy("allow: [{host: Db.example.com}]"), "spec.allow[0].host: \"Db.example.com\" is neither a name nor an address; accepted: a name in lower case"},
		{policy("allow: [{host: 'a.*.com'}]"), "spec.allow[0].host: \"a.*.com\""},
		{policy("allow: [{host: '*'}]"), "spec.allow[0].host"},
		{policy("allow: [{cidr: 10.9.0.0/16, ports: [0]}]"), "spec.allow[0].ports[0]: 0 is not accepted; accepted: a port, 1 to 65535, or a range"},
		{policy("allow: [{cidr: 10.9.0.0/16, ports: [70000]}]"), "spec.allow[0].ports[0]: 70000 is not accepted"},
		{policy("allow: [{cidr: 10.9.0.0/16, ports: ['90-80']}]"), "spec.allow[0].ports[0]: \"90-80\" is not accepted"},
		{policy("allow: [{cidr: 10.9.0.0/16, ports: [http]}]"), "spec.allow[0].ports[0]: \"http\" is not accepted"},
		{policy("allow: [{cidr: 10.9.0.0/16, ports: [80.5]}]"), "spec.allow[0].ports[0]: 80.5 is not accepted"},
		{policy("allow: 10.9.0.0/16"), "spec.allow: \"10.9.0.0/16\" is not accepted; accepted: a list"},
		{policy("nodes: [N1], onlyListed: true"), "spec.nodes[0]: \"N1\" has capitals; did you mean n1"},
		{policy("nodes: [n1, n1], onlyListed: true"), "spec.nodes[1]: n1 is there twice"},
		{policy("nodeSelector: 'a=b=c,', onlyListed: true"), "spec.nodeSelector: "},
		{policy("roles: [operater], onlyListed: true"), "spec.roles[0]: \"operater\" is no role that dials; did you mean operator; accepted: local, dialer, operator, admin"},
		{policy("roles: [node], onlyListed: true"), "spec.roles[0]: \"node\" is no role that dials"},
		{policy("users: ['a b'], onlyListed: true"), "spec.users[0]: \"a b\" is not a name"},

		// Names and kinds.
		{"{kind: Nodde, metadata: {name: n1}}", `Nodde/n1 kind: there is no kind "Nodde"; there are clusterconfigs, nodes, leases, egresspolicies, endpoints`},
		{"{metadata: {name: n1}}", "kind: is missing"},
		{"{kind: Endpoint, metadata: {name: n1}}", "Endpoint is read-only"},
		{"{kind: Node, metadata: {name: N1}}", `metadata.name: "N1" has capitals; did you mean n1`},
		{"{kind: Node, metadata: {name: a/b}}", `metadata.name: "a/b" is not a name`},
		{"{kind: Node}", "metadata.name: is missing"},
		{"{kind: Node, metadata: {name: n1, namespace: shop}}", "metadata.namespace: Node has no namespace"},
		{"{kind: Node, metadata: {name: n1, labels: {'a b': c}}}", `metadata.labels: key "a b" is not accepted`},
		{"{kind: Node, metadata: {name: n1, labels: {a: 'b c'}}}", `metadata.labels[a]: "b c" is not accepted`},
		{"{kind: Node, metadata: {name: n1}, spec: {site: fra}}", "spec.site: is not a field: spec has none"},
		{"{kind: cc, metadata: {name: main}}", "the only ClusterConfig is named default"},
		{"{apiVersion: v1, kind: Node, metadata: {name: n1}}", `apiVersion: "v1" is not known; accepted: weft/v1`},
	} {
		o, err := given(t, c.in).Build()
		if err != nil {
			if _, ok := Fields(err); !ok {
				t.Errorf("%s: %v names no field", c.in, err)
			}
		}
		if text := fmt.Sprint(string(o.Spec), err); !strings.Contains(text, c.want) {
			t.Errorf("%s\n got  %s\n want %s", c.in, text, c.want)
		}
	}
}

func TestEveryFindingIsReported(t *testing.T) {
	_, err := given(t, "{kind: cc, metadata: {name: default}, spec: {clusterCIDRs: [10.42.0.1/16], mtu: 3, vni: 16777216}}").Build()
	var fields []string
	errs, _ := Fields(err)
	for _, e := range errs {
		fields = append(fields, e.Field)
	}
	if diff := cmp.Diff([]string{"spec.clusterCIDRs[0]", "spec.vni", "spec.mtu"}, fields); diff != "" {
		t.Error(diff)
	}
}

func TestMerge(t *testing.T) {
	for _, c := range []struct{ old, patch, want string }{
		{`{"a":1,"b":2}`, `{"b":3}`, `{"a":1,"b":3}`},
		{`{"a":1,"b":2}`, `{"b":null}`, `{"a":1}`},
		{`{"a":[1,2]}`, `{"a":[3]}`, `{"a":[3]}`},
		{`{"a":{"b":1,"c":2}}`, `{"a":{"c":null,"d":3}}`, `{"a":{"b":1,"d":3}}`},
		{``, `{"a":{"b":null}}`, `{"a":{}}`},
		{`{"a":1}`, ``, `{"a":1}`},
		{`{"a":9007199254740993}`, `{}`, `{"a":9007199254740993}`},
	} {
		got, err := Merge(json.RawMessage(c.old), json.RawMessage(c.patch))
		if err != nil || string(got) != c.want {
			t.Errorf("merge %s, %s: %s, %v; want %s", c.old, c.patch, got, err, c.want)
		}
	}
}

func TestFind(t *testing.T) {
	for in, want := range map[string]string{
		"nodes": Node, "Node": Node, "no": Node, "NODES": Node, "cc": ClusterConfig, "clusterconfigs": ClusterConfig,
		"ls": Lease, "leases": Lease, "ep": Endpoint, "endpoints": Endpoint,
	} {
		if k, err := Find(in); err != nil || k.Name != want {
			t.Errorf("%s: %v, %v", in, k.Name, err)
		}
	}
}

// TestFieldsAreDocumented: every field of a spec is in the table, and the other
// way around.
func TestFieldsAreDocumented(t *testing.T) {
	specs := map[string]any{ClusterConfig: ClusterConfigSpec{}, Node: NodeSpec{}, Lease: LeaseSpec{}}
	for _, k := range Kinds() {
		spec, ok := specs[k.Name]
		if !ok {
			continue
		}
		var documented, real []string
		for _, f := range k.Fields {
			documented = append(documented, strings.TrimPrefix(f.Path, "spec."))
		}
		for i := range reflect.TypeOf(spec).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(spec).Field(i).Tag.Get("json"), ",")
			real = append(real, name)
		}
		if diff := cmp.Diff(real, documented); diff != "" {
			t.Errorf("%s: %s", k.Name, diff)
		}
	}
}

func TestDefaultsAreDocumented(t *testing.T) {
	raw, err := json.Marshal(ClusterConfigSpec{}.WithDefaults())
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	for _, f := range clusterConfigFields {
		if v, ok := got[strings.TrimPrefix(f.Path, "spec.")]; ok && v != nil && fmt.Sprint(v) != f.Default {
			t.Errorf("%s: the default is %v, documented is %s", f.Path, v, f.Default)
		}
	}
}

func TestMasqueradeCIDRs(t *testing.T) {
	s := ClusterConfigSpec{ClusterCIDRs: []netip.Prefix{
		netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/48"), netip.MustParsePrefix("2001:db8::/48"),
	}}
	for mode, want := range map[string]string{
		"":       "[10.42.0.0/16 fd42::/48]",
		"always": "[10.42.0.0/16 fd42::/48 2001:db8::/48]",
		"never":  "[]",
	} {
		s.Masquerade = mode
		if got := fmt.Sprint(s.MasqueradeCIDRs()); got != want {
			t.Errorf("%q: %s, want %s", mode, got, want)
		}
	}
}

func FuzzBuild(f *testing.F) {
	for _, s := range []struct{ kind, name, label, spec string }{
		{"Node", "n1", "a", "{}"},
		{"cc", "default", "", `{"clusterCIDRs":["10.42.0.0/16"],"mtu":1e9}`},
		{"Lease", "n7", "a/b", `{"prefixes":["fd42::/64","10.42.7.0/24"]}`},
		{"Lease", "n7", "", `{"prefixes":null,"node":{}}`},
		{"EgressPolicy", "p", "", `{"nodes":["n1"],"allow":[{"cidr":"10.9.0.0/16","ports":[80,"8000-8100"]}],"deny":[{"host":"*.example.com"}]}`},
		{"x", "", "", "["},
	} {
		f.Add(s.kind, s.name, s.label, []byte(s.spec))
	}
	f.Fuzz(func(t *testing.T, k, name, label string, spec []byte) {
		g := Given{Kind: k, Name: name, Labels: map[string]string{label: label}, Spec: spec}
		o, err := g.Build()
		if err != nil {
			if _, ok := Fields(err); !ok {
				t.Errorf("%v names no field", err)
			}
			return
		}
		again, err := Given{Kind: o.Kind, Name: o.Metadata.Name, Labels: o.Metadata.Labels, Spec: o.Spec}.Build()
		if err != nil || string(o.Spec) != string(again.Spec) {
			t.Errorf("what was built is not accepted again: %s, %v", o.Spec, err)
		}
	})
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1}}`), []byte(`{"a":{"b":null}}`))
	f.Fuzz(func(t *testing.T, old, patch []byte) {
		once, err := Merge(old, patch)
		if err != nil {
			return
		}
		if twice, err := Merge(once, patch); err != nil || string(twice) != string(once) {
			t.Errorf("a patch applied twice: %s, then %s, %v", once, twice, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	seed, err := Encode(Lease, Metadata{Name: "n1"}, LeaseSpec{Node: "n1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, in []byte) {
		var spec LeaseSpec
		_, _ = Decode(in, &spec)
	})
}

// TestColumnsAreToldOnce: a client adds the namespace of namespaced kinds itself,
// when it asked for all of them.
func TestColumnsAreToldOnce(t *testing.T) {
	for _, k := range Kinds() {
		titles := map[string]bool{"NAMESPACE": true}
		for _, c := range k.Columns {
			if titles[c.Title] {
				t.Errorf("%s shows %s twice", k.Name, c.Title)
			}
			titles[c.Title] = true
		}
	}
}
