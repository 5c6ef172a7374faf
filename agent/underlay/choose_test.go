package underlay

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// TestChoose has one line a case. A host is written as in
// "eth0 10.0.0.1/24 fd00::1/64 mtu 9000; eth1 down 10.1.0.1/24; default eth0; default6 eth1",
// flags of an address follow it after a colon: t temporary, d deprecated,
// n tentative, s secondary.
func TestChoose(t *testing.T) {
	for _, c := range []struct{ name, host, ask, want, problem string }{
		{"default route", "eth0 10.0.0.1/24; eth1 10.1.0.1/24; default eth1", "", "10.1.0.1/24 eth1 1500", ""},
		{"families on different links", "eth0 10.0.0.1/24 fd00::1/64; eth1 10.1.0.1/24 fd01::1/64; default eth0; default6 eth1", "", "10.0.0.1/24 eth0 1500, fd01::1/64 eth1 1500", ""},
		{"best metric first", "eth0 10.0.0.1/24; eth1 10.1.0.1/24; default eth1; default eth0", "", "10.1.0.1/24 eth1 1500", ""},
		{"order of families", "eth0 10.0.0.1/24 fd00::1/64; default eth0; default6 eth0", "family 6,4", "fd00::1/64 eth0 1500, 10.0.0.1/24 eth0 1500", ""},
		{"one family only", "eth0 10.0.0.1/24 fd00::1/64; default eth0; default6 eth0", "family 6", "fd00::1/64 eth0 1500", ""},
		{"MTU from the link", "eth0 mtu 9000 10.0.0.1/24; default eth0", "", "10.0.0.1/24 eth0 9000", ""},
		{"default route on a foreign device is passed over", "docker0 172.17.0.1/16; eth0 10.0.0.1/24; default docker0; default eth0", "", "10.0.0.1/24 eth0 1500", ""},
		{"no default route, one device", "lo 127.0.0.1/8; eth0 10.0.0.1/24; cni0 10.42.1.1/24", "", "10.0.0.1/24 eth0 1500", ""},
		{"no default route, two devices", "eth0 10.0.0.1/24; eth1 10.1.0.1/24", "", "", "no address for the fabric: a device with a default route was looked for; there are eth0 10.0.0.1/24, eth1 10.1.0.1/24"},
		{"nothing at all", "lo 127.0.0.1/8", "", "", "no address for the fabric: a device with a default route was looked for; there are no addresses at all"},

		{"never temporary", "eth0 2001:db8::7/64:t 2001:db8::1/64; default6 eth0", "", "2001:db8::1/64 eth0 1500", ""},
		{"never deprecated", "eth0 2001:db8::7/64:d 2001:db8::1/64; default6 eth0", "", "2001:db8::1/64 eth0 1500", ""},
		{"never tentative", "eth0 2001:db8::7/64:n; default6 eth0", "", "", "no address for the fabric: a device with a default route was looked for; there are eth0 2001:db8::7/64 (tentative)"},
		{"never link-local", "eth0 fe80::1/64 169.254.1.1/16; default eth0; default6 eth0", "", "", "no address for the fabric: a device with a default route was looked for; there are no addresses at all"},
		{"never a VIP beside an address", "eth0 10.0.0.100/32 10.0.0.5/24; default eth0", "", "10.0.0.5/24 eth0 1500", ""},
		{"never one VIP of several", "eth0 10.0.0.100/32 10.0.0.101/32; default eth0", "", "", "no address for the fabric: a device with a default route was looked for; there are eth0 10.0.0.100/32, eth0 10.0.0.101/32"},
		{"a cloud's own /32", "eth0 10.128.0.2/32; default eth0", "", "10.128.0.2/32 eth0 1500", ""},
		{"primary before secondary", "eth0 10.0.0.1/24:s 10.0.0.2/24; default eth0", "", "10.0.0.2/24 eth0 1500", ""},
		{"foreign devices", "docker0 1.0.0.1/8; br-12ab 2.0.0.1/8; cni0 3.0.0.1/8; flannel.1 4.0.0.1/8; cali12 5.0.0.1/8; cilium_host 6.0.0.1/8; kube-ipvs0 7.0.0.1/8; virbr0 8.0.0.1/8; tailscale0 9.0.0.1/8; weft0 11.0.0.1/8; wf0123456789a 12.0.0.1/8", "", "", "no address for the fabric: a device with a default route was looked for; there are docker0 1.0.0.1/8 (another stack's device), br-12ab 2.0.0.1/8 (another stack's device), cni0 3.0.0.1/8 (another stack's device), flannel.1 4.0.0.1/8 (another stack's device), cali12 5.0.0.1/8 (another stack's device), cilium_host 6.0.0.1/8 (another stack's device), kube-ipvs0 7.0.0.1/8 (another stack's device), virbr0 8.0.0.1/8 (another stack's device), and 1 more"},

		{"node-ip", "eth0 10.0.0.1/24; eth1 10.1.0.1/24; default eth0", "ip 10.1.0.1", "10.1.0.1/24 eth1 1500", ""},
		{"node-ip, both families, in its order", "eth0 10.0.0.1/24 fd00::1/64", "ip fd00::1,10.0.0.1", "fd00::1/64 eth0 1500, 10.0.0.1/24 eth0 1500", ""},
		{"node-ip names a VIP", "eth0 10.0.0.1/24 10.0.0.100/32", "ip 10.0.0.100", "10.0.0.100/32 eth0 1500", ""},
		{"node-ip on lo", "lo 10.255.0.1/32; eth0 10.0.0.1/24", "ip 10.255.0.1", "10.255.0.1/32 lo 1500", ""},
		{"node-ip not there yet", "eth0 10.0.0.1/24", "ip 10.0.0.9", "", "10.0.0.9 is on no device; there are eth0 10.0.0.1/24"},
		{"node-ip gone, kept", "eth0 10.0.0.1/24", "ip 10.0.0.9 last 10.0.0.9/24,eth1,1400", "10.0.0.9/24 eth1 1400", "10.0.0.9 is on no device, kept as it was; there are eth0 10.0.0.1/24"},
		{"node-ip tentative", "eth0 fd00::1/64:n", "ip fd00::1", "", "fd00::1 is tentative on eth0 (duplicate address detection); there are eth0 fd00::1/64 (tentative)"},
		{"node-ip, one of two missing", "eth0 10.0.0.1/24", "ip 10.0.0.1,fd00::1", "10.0.0.1/24 eth0 1500", "fd00::1 is on no device; there are eth0 10.0.0.1/24"},

		{"iface", "eth0 10.0.0.1/24; eth1 10.1.0.1/24 fd01::1/64; default eth0", "iface eth1", "10.1.0.1/24 eth1 1500, fd01::1/64 eth1 1500", ""},
		{"iface by address", "eth0 10.0.0.1/24; eth1 10.1.0.1/24; default eth0", "iface 10.1.0.1", "10.1.0.1/24 eth1 1500", ""},
		{"iface that others use, named", "br-lan 10.0.0.1/24", "iface br-lan", "10.0.0.1/24 br-lan 1500", ""},
		{"iface of our own", "weft0 10.42.1.0/32", "iface weft0", "", "no address for the fabric: device weft0 was looked for; there are no addresses at all"},
		{"iface missing", "eth0 10.0.0.1/24; default eth0", "iface ens3", "", "no address for the fabric: device ens3 was looked for; there are eth0 10.0.0.1/24"},
		{"regex of names", "ens1 10.0.0.1/24; eth1 10.1.0.1/24; default ens1", "regex ^eth", "10.1.0.1/24 eth1 1500", ""},
		{"regex of addresses", "ens1 10.0.0.1/24; ens2 10.1.0.1/24; default ens1", "regex ^10[.]1[.]", "10.1.0.1/24 ens2 1500", ""},
		{"regex never takes a foreign device", "docker0 10.1.0.1/24; ens1 10.0.0.1/24", "regex .*", "10.0.0.1/24 ens1 1500", ""},
		{"regex broken", "eth0 10.0.0.1/24", "regex [", "", "the regular expression cannot be read: error parsing regexp: missing closing ]: `[`"},
		{"can-reach", "eth0 10.0.0.1/24; eth1 10.1.0.1/24; default eth0", "reach 192.0.2.1,eth1", "10.1.0.1/24 eth1 1500", ""},
		{"can-reach without route", "eth0 10.0.0.1/24", "reach 192.0.2.1,", "", "no address for the fabric: the device towards 192.0.2.1 was looked for; there are eth0 10.0.0.1/24"},

		{"sticky: default route moved", "eth0 10.0.0.1/24; eth1 10.1.0.1/24; default eth1", "last 10.0.0.1/24,eth0,1500", "10.0.0.1/24 eth0 1500", ""},
		{"sticky: another address appeared first", "eth0 10.0.0.1/24 10.0.0.9/24; default eth0", "last 10.0.0.9/24,eth0,1500", "10.0.0.9/24 eth0 1500", ""},
		{"sticky: new MTU is followed", "eth0 mtu 1400 10.0.0.1/24; default eth0", "last 10.0.0.1/24,eth0,1500", "10.0.0.1/24 eth0 1400", ""},
		{"sticky: a changed address, same device first", "eth0 10.0.0.2/24; eth1 10.1.0.1/24; default eth1", "last 10.0.0.1/24,eth0,1500", "10.0.0.2/24 eth0 1500", ""},
		{"sticky: became deprecated", "eth0 2001:db8::1/64:d 2001:db8::2/64; default6 eth0", "last 2001:db8::1/64,eth0,1500", "2001:db8::2/64 eth0 1500", ""},
		{"sticky: tentative after a flap", "eth0 fd00::1/64:n; default6 eth0", "last fd00::1/64,eth0,1500", "fd00::1/64 eth0 1500", ""},
		{"sticky: address stays on a link that is down", "eth0 down 10.0.0.1/24", "last 10.0.0.1/24,eth0,1500", "10.0.0.1/24 eth0 1500", ""},
		{"device gone, kept", "eth1 10.1.0.1/24", "last 10.0.0.1/24,eth0,1500", "10.0.0.1/24 eth0 1500", "10.0.0.1/24 was chosen on eth0, which is down or gone; kept as it was"},
		{"device gone, another has the default route", "eth1 10.1.0.1/24; default eth1", "last 10.0.0.1/24,eth0,1500", "10.1.0.1/24 eth1 1500", ""},
		{"device down, IPv6 address lost with it, kept", "eth0 down 10.0.0.1/24", "last 10.0.0.1/24,eth0,1500 last fd00::1/64,eth0,1500", "10.0.0.1/24 eth0 1500, fd00::1/64 eth0 1500", "fd00::1/64 was chosen on eth0, which is down or gone; kept as it was"},
		{"a family removed by hand is dropped", "eth0 10.0.0.1/24; default eth0", "last 10.0.0.1/24,eth0,1500 last fd00::1/64,eth0,1500", "10.0.0.1/24 eth0 1500", ""},
		{"all addresses removed by hand, kept", "eth0", "last 10.0.0.1/24,eth0,1500", "10.0.0.1/24 eth0 1500", "no address for the fabric: a device with a default route was looked for; there are no addresses at all"},
		{"the operator's choice beats the last", "eth0 10.0.0.1/24; eth1 10.1.0.1/24", "iface eth1 last 10.0.0.1/24,eth0,1500", "10.1.0.1/24 eth1 1500", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Choose(host1(t, c.host), ask(t, c.ask))
			if s := write(got); s != c.want {
				t.Errorf("chose %q, want %q", s, c.want)
			}
			problem := ""
			if err != nil {
				problem = strings.TrimPrefix(err.Error(), "underlay: ")
			}
			if problem != c.problem {
				t.Errorf("problem %q\n   want %q", problem, c.problem)
			}
		})
	}
}

func write(us []intent.Underlay) string {
	var out []string
	for _, u := range us {
		out = append(out, fmt.Sprintf("%v %s %d", u.Addr, u.Device, u.MTU))
	}
	return strings.Join(out, ", ")
}

func host1(t *testing.T, s string) datapath.Host {
	t.Helper()
	var h datapath.Host
	for i, part := range strings.Split(s, ";") {
		words := strings.Fields(part)
		if strings.HasPrefix(words[0], "default") {
			h.Defaults = append(h.Defaults, datapath.HostDefault{Link: words[1], Is4: words[0] == "default"})
			continue
		}
		link := datapath.HostLink{Index: i + 1, Name: words[0], MTU: 1500, Up: true}
		for j := 1; j < len(words); j++ {
			switch words[j] {
			case "down":
				link.Up = false
			case "mtu":
				j++
				link.MTU = atoi(t, words[j])
			default:
				h.Addrs = append(h.Addrs, addr(link.Name, words[j]))
			}
		}
		h.Links = append(h.Links, link)
	}
	return h
}

func addr(link, s string) datapath.HostAddr {
	bits := strings.Index(s, "/")
	length, flags, _ := strings.Cut(s[bits:], ":")
	return datapath.HostAddr{
		Link: link, Prefix: netip.MustParsePrefix(s[:bits] + length),
		Temporary: strings.Contains(flags, "t"), Deprecated: strings.Contains(flags, "d"),
		Tentative: strings.Contains(flags, "n"), Secondary: strings.Contains(flags, "s"),
	}
}

func ask(t *testing.T, s string) Config {
	t.Helper()
	var c Config
	words := strings.Fields(s)
	for pair := range slices.Chunk(words, 2) {
		values := strings.Split(pair[1], ",")
		switch pair[0] {
		case "ip":
			for _, v := range values {
				c.NodeIPs = append(c.NodeIPs, netip.MustParseAddr(v))
			}
		case "iface":
			c.Iface = pair[1]
		case "regex":
			c.IfaceRegex = pair[1]
		case "reach":
			c.CanReach, c.ReachDevice = netip.MustParseAddr(values[0]), values[1]
		case "family":
			for _, v := range values {
				c.Families = append(c.Families, v == "4")
			}
		case "last":
			c.Last = append(c.Last, intent.Underlay{Addr: netip.MustParsePrefix(values[0]), Device: values[1], MTU: atoi(t, values[2])})
		default:
			t.Fatalf("bad word %q", pair[0])
		}
	}
	return c
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
