package server

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

func cidrs(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestSow(t *testing.T) {
	first := Seed{Spec: kind.ClusterConfigSpec{ClusterCIDRs: cidrs("10.42.0.0/16", "fd42:42::/48")}}
	given := func(flag string, change func(*kind.ClusterConfigSpec)) Seed {
		s := Seed{Spec: first.Spec, Given: map[string]string{flag: "--" + flag}}
		change(&s.Spec)
		return s
	}
	for _, c := range []struct {
		name string
		seed Seed
		want string
	}{
		{"the same", first, ""},
		{"the same, given", given("cluster-cidr", func(*kind.ClusterConfigSpec) {}), ""},
		{"a default, given", given("vni", func(s *kind.ClusterConfigSpec) { s.VNI = 4096 }), ""},
		{"not given", Seed{Spec: kind.ClusterConfigSpec{ClusterCIDRs: cidrs("10.0.0.0/8")}}, ""},
		{"another range", given("cluster-cidr", func(s *kind.ClusterConfigSpec) { s.ClusterCIDRs = cidrs("10.0.0.0/8", "fd00::/48") }), `
  --cluster-cidr says [10.0.0.0/8, fd00::/48], the cluster runs with [10.42.0.0/16, fd42:42::/48]
remove them to go on with what runs. To change the cluster, remove them, start, and run:
echo '{apiVersion: weft/v1, kind: ClusterConfig, metadata: {name: default}, spec: {clusterCIDRs: ["10.0.0.0/8", "fd00::/48"]}}' | weft apply -f -`},
		{"another backend", given("backend", func(s *kind.ClusterConfigSpec) { s.Backend = "host-gw" }), "--backend says host-gw, the cluster runs with vxlan"},
		{"services", given("service-cidr", func(s *kind.ClusterConfigSpec) { s.ServiceCIDRs = cidrs("10.43.0.0/16") }), "says [10.43.0.0/16], the cluster runs with []"},
		{"mtu", given("mtu", func(s *kind.ClusterConfigSpec) { s.MTU = 1400 }), "spec: {mtu: 1400}}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := storetest.New()
			if _, err := sow(t.Context(), s, first, nil); err != nil {
				t.Fatal(err)
			}
			rev := s.Revision()
			_, err := sow(t.Context(), s, c.seed, nil)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
			if s.Revision() != rev {
				t.Error("a later start wrote")
			}
		})
	}
}

func TestSowAfterAnApply(t *testing.T) {
	first := Seed{Spec: kind.ClusterConfigSpec{ClusterCIDRs: cidrs("10.42.0.0/16")}}
	given := func(list ...string) Seed {
		return Seed{Spec: kind.ClusterConfigSpec{ClusterCIDRs: cidrs(list...)}, Given: map[string]string{"cluster-cidr": "--cluster-cidr"}}
	}
	for _, c := range []struct {
		name      string
		seed      Seed
		overtaken string
		want      string
	}{
		{"not given", Seed{}, "", ""},
		{"as at the first start", given("10.42.0.0/16"), "--cluster-cidr says [10.42.0.0/16], the cluster runs with [10.42.0.0/16, fd42:42::/48]", ""},
		{"as it is now", given("10.42.0.0/16", "fd42:42::/48"), "", ""},
		{"neither", given("10.43.0.0/16"), "", "--cluster-cidr says [10.43.0.0/16], the cluster runs with [10.42.0.0/16, fd42:42::/48]"},
	} {
		for _, forgotten := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", c.name, forgotten), func(t *testing.T) {
				s := storetest.New()
				if _, err := sow(t.Context(), s, first, nil); err != nil {
					t.Fatal(err)
				}
				if forgotten { // a release that kept no seed made it, this one started once
					change(t, s, store.Write{Key: store.Seed})
					if _, err := sow(t.Context(), s, given("10.42.0.0/16"), nil); err != nil {
						t.Fatal(err)
					}
				}
				spec := kind.ClusterConfigSpec{ClusterCIDRs: cidrs("10.42.0.0/16", "fd42:42::/48")}
				b, err := kind.Encode(kind.ClusterConfig, kind.Metadata{Name: kind.DefaultName}, spec.WithDefaults())
				if err != nil {
					t.Fatal(err)
				}
				change(t, s, store.Write{Key: kind.Key(kind.ClusterConfig, "", kind.DefaultName), Value: b})
				overtaken, err := sow(t.Context(), s, c.seed, nil)
				if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v\nwant %s", err, c.want)
				}
				if strings.Join(overtaken, "\n") != c.overtaken {
					t.Errorf("overtaken: %q\nwant %q", overtaken, c.overtaken)
				}
			})
		}
	}
}

func change(t *testing.T, s store.Store, w store.Write) {
	t.Helper()
	if _, err := s.Commit(t.Context(), store.Txn{Then: []store.Write{w}}); err != nil {
		t.Fatal(err)
	}
}

func TestSowRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		spec kind.ClusterConfigSpec
		own  string
		want string
	}{
		{"no range", kind.ClusterConfigSpec{}, "192.0.2.1", "spec.clusterCIDRs"},
		{"an unknown backend", kind.ClusterConfigSpec{ClusterCIDRs: cidrs("10.42.0.0/16"), Backend: "geneve"}, "192.0.2.1", `"geneve" is not a backend`},
		{"our own address", kind.ClusterConfigSpec{ClusterCIDRs: cidrs("10.0.0.0/8")}, "10.1.2.3", "node address 10.1.2.3 lies in 10.0.0.0/8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := storetest.New()
			_, err := sow(t.Context(), s, Seed{Spec: c.spec}, []netip.Addr{netip.MustParseAddr(c.own)})
			if err == nil || !strings.Contains(err.Error(), c.want) || s.Revision() != 1 {
				t.Errorf("got %v at revision %d\nwant %s", err, s.Revision(), c.want)
			}
		})
	}
}

func TestSowTwoServersAtOnce(t *testing.T) {
	s := storetest.New()
	s.Conflict(1)
	seed := Seed{Spec: kind.ClusterConfigSpec{ClusterCIDRs: cidrs("10.42.0.0/16")}}
	if _, err := sow(t.Context(), s, seed, nil); err != nil {
		t.Error(err)
	}
}

func TestFound(t *testing.T) {
	s := storetest.New()
	one, err := found(t.Context(), s, Config{Fabric: "prod", DataDir: t.TempDir()})
	if err != nil || len(one.epoch) != 32 || one.name != "prod" {
		t.Fatalf("%+v, %v", one, err)
	}
	if two, err := found(t.Context(), s, Config{Fabric: "other", DataDir: t.TempDir()}); err != nil || two != one {
		t.Errorf("founded again: %+v, %v", two, err)
	}
	for value, want := range map[string]string{
		strconv.Itoa(schema.Store.Version() + 1): "run the newer release again",
		"x":                                      "is this store another program's?",
	} {
		s := storetest.New()
		if _, err := s.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: keySchema, Value: []byte(value)}}}); err != nil {
			t.Fatal(err)
		}
		rev := s.Revision()
		if _, err := found(t.Context(), s, Config{Fabric: "prod", DataDir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), want) || s.Revision() != rev {
			t.Errorf("schema %q: %v", value, err)
		}
	}
	s.Down()
	if _, err := found(t.Context(), s, Config{Fabric: "prod", DataDir: t.TempDir()}); !errors.Is(err, storetest.ErrDown) {
		t.Error(err)
	}
}

// TestEveryFlagOfTheClusterIsCompared: a later start, of this server or of another
// one, with another value is refused with both values and the line that changes it.
func TestEveryFlagOfTheClusterIsCompared(t *testing.T) {
	first := Seed{Spec: kind.ClusterConfigSpec{ClusterCIDRs: cidrs("10.42.0.0/16")}}
	other := map[string]kind.ClusterConfigSpec{
		"cluster-cidr":             {ClusterCIDRs: cidrs("10.44.0.0/16")},
		"service-cidr":             {ServiceCIDRs: cidrs("10.43.0.0/16")},
		"node-cidr-mask-size-ipv4": {NodeCIDRMaskSize4: 25},
		"node-cidr-mask-size-ipv6": {NodeCIDRMaskSize6: 80},
		"backend":                  {Backend: "host-gw"},
		"direct-routing":           {DirectRouting: true},
		"vni":                      {VNI: 99},
		"vxlan-port":               {VXLANPort: 4789},
		"mtu":                      {MTU: 1400},
		"masquerade":               {Masquerade: "never"},
		"non-masquerade-cidrs":     {NonMasqueradeCIDRs: cidrs("192.0.2.0/24")},
		"egress-selector-mode":     {EgressSelectorMode: kind.EgressPod},
		"egress-fallback":          {EgressFallback: kind.FallbackDirect},
		"encryption":               {Encryption: "never"},
		"topology":                 {Topology: "site-gateways"},
		"wireguard-port":           {WireGuardPort: 51830},
		"key-days":                 {KeyDays: 90},
		"post-quantum":             {PostQuantum: true},
	}
	for _, f := range settings {
		spec, ok := other[f.flag]
		if !ok {
			t.Errorf("no other value of --%s is tried", f.flag)
			continue
		}
		s := storetest.New()
		if _, err := sow(t.Context(), s, first, nil); err != nil {
			t.Fatal(err)
		}
		before := s.String()
		_, err := sow(t.Context(), s, Seed{Spec: spec, Given: map[string]string{f.flag: "--" + f.flag}}, nil)
		if err == nil || !strings.Contains(err.Error(), "--"+f.flag+" says ") || !strings.Contains(err.Error(), "spec: {"+f.field+": ") {
			t.Errorf("--%s: %v", f.flag, err)
		}
		if s.String() != before {
			t.Errorf("--%s: the store was changed", f.flag)
		}
	}
}

// TestEveryFlagOfTheClusterIsGuarded: a flag that cannot be stops the first start,
// with its field and what is accepted, before anything is stored.
func TestEveryFlagOfTheClusterIsGuarded(t *testing.T) {
	good := kind.ClusterConfigSpec{ClusterCIDRs: cidrs("10.42.0.0/16")}
	with := func(change func(*kind.ClusterConfigSpec)) kind.ClusterConfigSpec {
		s := good
		change(&s)
		return s
	}
	bad := map[string][]kind.ClusterConfigSpec{
		"cluster-cidr":             {{ClusterCIDRs: cidrs("224.0.0.0/8")}, {ClusterCIDRs: cidrs("10.42.0.0/16", "10.42.1.0/24")}, {ClusterCIDRs: cidrs("10.99.0.0/16")}},
		"service-cidr":             {with(func(s *kind.ClusterConfigSpec) { s.ServiceCIDRs = cidrs("10.42.1.0/24") }), with(func(s *kind.ClusterConfigSpec) { s.ServiceCIDRs = cidrs("10.99.0.0/24") })},
		"node-cidr-mask-size-ipv4": {with(func(s *kind.ClusterConfigSpec) { s.NodeCIDRMaskSize4 = 8 }), with(func(s *kind.ClusterConfigSpec) { s.NodeCIDRMaskSize4 = 31 })},
		"node-cidr-mask-size-ipv6": {with(func(s *kind.ClusterConfigSpec) { s.NodeCIDRMaskSize6 = 127 }), with(func(s *kind.ClusterConfigSpec) { s.NodeCIDRMaskSize6 = -1 })},
		"backend":                  {with(func(s *kind.ClusterConfigSpec) { s.Backend = "ipsec" })},
		"direct-routing":           nil, // a switch
		"vni":                      {with(func(s *kind.ClusterConfigSpec) { s.VNI = 1 << 24 }), with(func(s *kind.ClusterConfigSpec) { s.VNI = 1 })},
		"vxlan-port":               {with(func(s *kind.ClusterConfigSpec) { s.VXLANPort = 7443 })},
		"mtu":                      {with(func(s *kind.ClusterConfigSpec) { s.MTU = 20 }), with(func(s *kind.ClusterConfigSpec) { s.MTU = 70000 }), with(func(s *kind.ClusterConfigSpec) { s.MTU = -1 })},
		"masquerade":               {with(func(s *kind.ClusterConfigSpec) { s.Masquerade = "sometimes" })},
		"non-masquerade-cidrs": {with(func(s *kind.ClusterConfigSpec) {
			s.NonMasqueradeCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}
		})},
		"egress-selector-mode": {with(func(s *kind.ClusterConfigSpec) { s.EgressSelectorMode = "node" })},
		"egress-fallback":      {with(func(s *kind.ClusterConfigSpec) { s.EgressFallback = "open" })},
		"encryption":           {with(func(s *kind.ClusterConfigSpec) { s.Encryption = "sometimes" }), with(func(s *kind.ClusterConfigSpec) { s.Encryption = "always" })},
		"topology":             {with(func(s *kind.ClusterConfigSpec) { s.Topology = "star" })},
		"wireguard-port":       {with(func(s *kind.ClusterConfigSpec) { s.WireGuardPort = 65535 }), with(func(s *kind.ClusterConfigSpec) { s.WireGuardPort = 8471 })},
		"key-days":             {with(func(s *kind.ClusterConfigSpec) { s.KeyDays = -1 }), with(func(s *kind.ClusterConfigSpec) { s.KeyDays = 9999 })},
		"post-quantum":         {with(func(s *kind.ClusterConfigSpec) { s.PostQuantum = true })},
	}
	own := []netip.Addr{netip.MustParseAddr("10.99.0.2")}
	for _, f := range settings {
		list, ok := bad[f.flag]
		if !ok {
			t.Errorf("no wrong value of --%s is tried", f.flag)
		}
		for _, spec := range list {
			s := storetest.New()
			before := s.String()
			_, err := sow(t.Context(), s, Seed{Spec: spec, Given: map[string]string{f.flag: "--" + f.flag}}, own)
			if err == nil || !strings.Contains(err.Error(), "spec."+f.field) && !strings.Contains(err.Error(), "--"+f.flag) {
				t.Errorf("--%s %s: %v", f.flag, f.text(spec), err)
			}
			if s.String() != before {
				t.Errorf("--%s %s: something was stored", f.flag, f.text(spec))
			}
		}
	}
}
