package host_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/host"
	"github.com/weft-net/weft/proto/intent"
)

func TestFindings(t *testing.T) {
	now := time.Unix(1e9, 0)
	rp := func(all, eth0 string) host.Facts {
		return host.Facts{Settings: []host.Setting{{Path: "net/ipv4/conf/all/rp_filter", Value: all}, {Path: "net/ipv4/conf/eth0/rp_filter", Value: eth0}}}
	}
	loose := node
	loose.ManageRPFilter = true
	for _, c := range []struct {
		what  string
		node  host.Node
		facts host.Facts
		want  string // severity subject: part of the cause: part of the remedy
	}{
		{"nothing", node, host.Facts{}, ""},
		{"strict reverse path", node, rp("0", "1"), "warning sysctl net/ipv4/conf/eth0/rp_filter: strict: sysctl -w net.ipv4.conf.eth0.rp_filter=2"},
		{"strict for all", node, rp("1", "0"), "warning sysctl net/ipv4/conf/eth0/rp_filter: strict: --manage-rp-filter"},
		{"loose beats strict for all", node, rp("1", "2"), ""},
		{"off", node, rp("0", "0"), ""},
		{"strict, and managed", loose, rp("0", "1"), ""},
		{"networkd", node, host.Facts{Daemons: host.Daemons{Networkd: true}}, "warning systemd-networkd: removes routes: ManageForeignRoutes=no"},
		{"networkd, told", node, host.Facts{Daemons: host.Daemons{Networkd: true, NetworkdKeeps: true}}, ""},
		{"NetworkManager", node, host.Facts{Daemons: host.Daemons{NetworkManager: true, NetworkManaged: true}}, "warning NetworkManager: devices: unmanaged-devices+="},
		{"NetworkManager, told", node, host.Facts{Daemons: host.Daemons{NetworkManager: true}}, ""},
		{"a configuration before ours", node, host.Facts{CNI: host.CNI{Dir: "/etc/cni/net.d", Before: []string{"00-a.conf", "01-b.conf"}}}, "warning /etc/cni/net.d/00-a.conf: sorts before: mv /etc/cni/net.d/00-a.conf"},
		{"clock behind", node, host.Facts{Clock: host.Clock{Apart: 2 * time.Hour}}, "fault clock: the clock of this machine is 2h0m behind that of the server: timedatectl"},
		{"clock ahead", node, host.Facts{Clock: host.Clock{Apart: -time.Hour}}, "fault clock: 1h0m ahead of that of the server: timedatectl"},
		{"clock ahead of a server that is known", node, host.Facts{Clock: host.Clock{Apart: -3*time.Hour - 2*time.Second, Node: "n7", Server: "s1"}}, "fault clock: the clock of n7 is 3h0m ahead of that of server s1: on n7, or on server s1 if"},
		{"clock a little behind", node, host.Facts{Clock: host.Clock{Apart: 50*time.Minute + 12*time.Second, Node: "n7", Server: "s1"}}, "fault clock: 50m10s behind that of server s1: timedatectl"},
		{"clock near", node, host.Facts{Clock: host.Clock{Apart: time.Minute}}, ""},
		{"clock by itself", node, host.Facts{Clock: host.Clock{Unsynchronized: true}}, "note clock: not synchronized: timedatectl"},
		{"disk full", node, host.Facts{Disks: []host.Disk{{Path: "/d", Free: 1 << 20, FreeInodes: 1000}}}, "fault /d: 1 MiB are free: df -h /d"},
		{"no inodes", node, host.Facts{Disks: []host.Disk{{Path: "/d", Free: 1 << 30}}}, "fault /d: 0 inodes are free: df -i /d"},
		{"inodes not counted", node, host.Facts{Disks: []host.Disk{{Path: "/d", Free: 1 << 30, NoInodes: true}}}, ""},
		{"read-only", node, host.Facts{Disks: []host.Disk{{Path: "/d", Free: 1 << 30, NoInodes: true, ReadOnly: true}}}, "fault /d: read-only: mount -o remount,rw"},
		{"the guard drops", node, host.Facts{Guard: host.Guard{Drops: 3, Last: now.Add(-time.Second), Now: now}}, "warning forwarding: is dropped: weft-agent --forwarding-guard off"},
		{"the guard dropped long ago", node, host.Facts{Guard: host.Guard{Drops: 3, Last: now.Add(-time.Hour), Now: now}}, ""},
		{"another network", node, host.Facts{Links: []datapath.HostLink{{Name: "eth0"}, {Name: "flannel.1"}, {Name: "cali12"}}}, "note Flannel: flannel.1: ip link del flannel.1\nnote Calico: cali12: ip link del cali12"},
		{"worst first", node, host.Facts{Clock: host.Clock{Unsynchronized: true}, Disks: []host.Disk{{Path: "/d", ReadOnly: true, NoInodes: true}}}, "fault /d: read-only: remount\nnote clock: not: set-ntp"},
	} {
		fs := host.Findings(c.node, c.facts)
		var want []string
		if c.want != "" {
			want = strings.Split(c.want, "\n")
		}
		if len(fs) != len(want) {
			t.Errorf("%s: %v, want %q", c.what, fs, want)
			continue
		}
		for i, f := range fs {
			head, rest, _ := strings.Cut(want[i], ": ")
			cause, remedy, _ := strings.Cut(rest, ": ")
			if got := fmt.Sprintf("%v %s", f.Severity, f.Subject); got != head || !strings.Contains(f.Cause, cause) || !strings.Contains(f.Remedy, remedy) {
				t.Errorf("%s: %+v, want %q", c.what, f, want[i])
			}
		}
	}
}

// TestProblems: notes are for who checks a configuration, not for status.
func TestProblems(t *testing.T) {
	fs := []host.Finding{{Severity: host.Fault, Subject: "a"}, {Severity: host.Warning, Subject: "b"}, {Severity: host.Note, Subject: "c"}}
	if ps := host.Problems(fs); len(ps) != 2 || ps[0].Subject != "a" || ps[1].Subject != "b" {
		t.Error(ps)
	}
}

func TestParseMarkMask(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"0x00000f00", "0xf00"},
		{"0xf0", "0xf0"},
		{"3840", "0xf00"},
		{"0xff00", "has bits of kube-proxy's 0xc000"},
		{"0x4000", "has bits of kube-proxy's 0xc000"},
		{"0xf00000", "has bits of Tailscale's 0xff0000"},
		{"0x700", "has fewer than four bits"},
		{"0", "has fewer than four bits"},
		{"x", "is no mask of 32 bits"},
		{"0x100000000", "is no mask of 32 bits"},
	} {
		got, err := host.ParseMarkMask(c.in)
		if text := fmt.Sprintf("%#x %v", got, err); !strings.Contains(text, c.want) {
			t.Errorf("%s: %s, want %s", c.in, text, c.want)
		}
	}
}

// TestOpenings: what is asked for stands once, and goes when nobody asks.
func TestOpenings(t *testing.T) {
	filters := []datapath.Filter{
		parseFilter(t, "ip", "filter", "chain FORWARD forward drop\njump DOCKER-USER\njump ufw-user-forward\nchain DOCKER-USER\nreturn\nchain ufw-user-forward\nchain INPUT input drop\njump ufw-user-input\nchain ufw-user-input"),
		parseFilter(t, "inet", "mine", "chain f forward drop"),
	}
	if got := host.Openings(node, filters); got != nil {
		t.Errorf("not asked for: %v", got)
	}
	asked := node
	asked.IntegrateFirewall = true
	want := host.Openings(asked, filters)
	if len(want) != 6 {
		t.Fatalf("%d openings: %v", len(want), want)
	}
	sealed := asked
	sealed.Mesh.Slots = []intent.Slot{{Slot: 0, Port: 51820}, {Slot: 1, Port: 51821}}
	if got := host.Openings(sealed, filters); len(got) != 9 || got[7].Port != "51821" || got[8].Match.Value != "weft*" || got[8].Port != "" {
		t.Errorf("with two WireGuard devices: %v", got)
	}
	missing, stale := host.Compare(want, filters)
	if len(missing) != 6 || len(stale) != 0 {
		t.Errorf("at first %v, %v", missing, stale)
	}
	for i, o := range want { // as the kernel would show them
		r := datapath.FilterRule{Handle: uint64(i + 1), Verdict: "accept", Comment: host.OpeningMark}
		r.Match = []datapath.FilterMatch{{Field: string(o.Match.Field), Values: []string{o.Match.Value}}}
		if o.Port != "" {
			r.Match = append(r.Match, datapath.FilterMatch{Field: "l4proto", Values: []string{"udp"}}, datapath.FilterMatch{Field: "dport", Values: []string{o.Port}})
		}
		for j := range filters[0].Chains {
			if c := &filters[0].Chains[j]; c.Name == o.Chain {
				c.Rules = append([]datapath.FilterRule{r}, c.Rules...)
			}
		}
	}
	if missing, stale := host.Compare(want, filters); len(missing) != 0 || len(stale) != 0 {
		t.Errorf("once done %v, %v", missing, stale)
	}
	if missing, stale := host.Compare(nil, filters); len(missing) != 0 || len(stale) != 6 {
		t.Errorf("not asked for any more %v, %v", missing, stale)
	}
	if fs := host.Findings(asked, host.Facts{Filters: filters[:1]}); len(fs) != 0 {
		t.Errorf("with openings %v", fs)
	}
}
