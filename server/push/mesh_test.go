package push

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
)

// meshed is a report of a node with WireGuard devices in some slots. A candidate is
// ADDRESS:PORT/slot/source.
func meshed(r *weftv1.NodeReport, slots []uint32, candidates ...string) *weftv1.NodeReport {
	r.Capabilities = []string{"vxlan", intent.CapabilityMesh, intent.CapabilityGo}
	for _, s := range slots {
		r.WireguardSlots = append(r.WireguardSlots, &weftv1.WireguardSlot{Slot: s, Port: 51820 + s, PublicKey: bytes.Repeat([]byte{byte(s + 1)}, 32)})
	}
	for _, c := range candidates {
		parts := strings.Split(c, "/")
		m := &weftv1.Candidate{Address: parts[0], Source: parts[2]}
		if parts[1] == "1" {
			m.Slot = 1
		}
		r.Candidates = append(r.Candidates, m)
	}
	return r
}

// candidates are those of a report as one would write them.
func candidates(list []kind.ReportCandidate) string {
	var out []string
	for _, c := range list {
		out = append(out, fmt.Sprintf("%v/%d/%s", c.Address, c.Slot, c.Source))
	}
	return strings.Join(out, " ")
}

func TestMeshReports(t *testing.T) {
	many := make([]string, 65)
	for i := range many {
		many[i] = fmt.Sprintf("192.0.2.%d:51820/0/echo", i)
	}
	both := []uint32{0, 1}
	for _, c := range []struct {
		name  string
		slots []uint32
		in    []string
		more  func(*weftv1.NodeReport)
		want  string
	}{
		{"OK", both, []string{"192.0.2.1:51820/0/interface", "[2001:db8::1]:51821/1/external", "198.51.100.7:4321/0/echo"}, nil, "192.0.2.1:51820/0/interface [2001:db8::1]:51821/1/external 198.51.100.7:4321/0/echo"},
		{"OK private", both[:1], []string{"192.168.1.5:51820/0/interface", "100.64.0.9:51820/0/peer"}, nil, "192.168.1.5:51820/0/interface 100.64.0.9:51820/0/peer"},
		{"OK seen is the server's to say", both[:1], []string{"198.51.100.1:1/0/seen", "192.0.2.1:51820/0/interface"}, nil, "192.0.2.1:51820/0/interface"},
		{"bad loopback", both[:1], []string{"192.0.2.1:51820/0/interface", "127.0.0.1:51820/0/interface"}, nil, "candidates[1]: 127.0.0.1:51820 is loopback"},
		{"bad loopback of IPv6", both[:1], []string{"[::1]:51820/0/interface"}, nil, "candidates[0]: [::1]:51820 is loopback"},
		{"bad multicast", both[:1], []string{"239.1.1.1:51820/0/peer"}, nil, "candidates[0]: 239.1.1.1:51820 is multicast"},
		{"bad multicast of IPv6", both[:1], []string{"[ff02::1]:51820/0/peer"}, nil, "is multicast"},
		{"bad broadcast", both[:1], []string{"255.255.255.255:51820/0/peer"}, nil, "candidates[0]: 255.255.255.255:51820 is reserved and broadcast"},
		{"bad unspecified", both[:1], []string{"0.0.0.0:51820/0/interface"}, nil, "candidates[0]: 0.0.0.0:51820 is this host on this network"},
		{"bad unspecified of IPv6", both[:1], []string{"[::]:51820/0/interface"}, nil, "is unspecified"},
		{"bad link-local", both[:1], []string{"[fe80::1]:51820/0/interface"}, nil, "candidates[0]: [fe80::1]:51820 is link-local"},
		{"bad link with a zone", both[:1], []string{"[fe80::1%eth0]:51820/0/interface"}, nil, "is not an address with a port"},
		{"bad metadata", both[:1], []string{"169.254.169.254:80/0/echo"}, nil, "candidates[0]: 169.254.169.254:80 is the instance metadata of most clouds"},
		{"bad metadata of AWS", both[:1], []string{"[fd00:ec2::254]:80/0/echo"}, nil, "is the instance metadata of AWS"},
		{"bad metadata inside of IPv6", both[:1], []string{"[64:ff9b::a9fe:a9fe]:80/0/echo"}, nil, "in IPv6: no peer reaches the node there"},
		{"bad mapped", both[:1], []string{"[::ffff:192.0.2.1]:51820/0/echo"}, nil, "candidates: \"[::ffff:192.0.2.1]:51820\" is not an address with a port"},
		{"bad without a port", both[:1], []string{"192.0.2.1/0/echo"}, nil, "is not an address with a port"},
		{"bad port 0", both[:1], []string{"192.0.2.1:0/0/echo"}, nil, "is not an address with a port"},
		{"bad source", both[:1], []string{"192.0.2.1:51820/0/dream"}, nil, "\"dream\" is not a source"},
		{"bad slot without a device", both[:1], []string{"192.0.2.1:51820/1/echo"}, nil, "candidates[0]: 192.0.2.1:51820 is of slot 1, and the node reports no WireGuard device there"},
		{"bad flood", both[:1], many, nil, "candidates: 65; at most 64"},
		{"bad slots", []uint32{0, 0}, nil, nil, "wireguard_slots: slot 0 is there twice"},
		{"bad slot", []uint32{7}, nil, nil, "wireguard_slots: slot 7: 0 or 1"},
		{"bad key", both[:1], nil, func(r *weftv1.NodeReport) { r.WireguardSlots[0].PublicKey = []byte("short") }, "wireguard_slots: slot 0: no public key of 32 bytes"},
		{"bad key of zeros", both[:1], nil, func(r *weftv1.NodeReport) { r.WireguardSlots[0].PublicKey = make([]byte, 32) }, "no public key"},
		{"bad port", both[:1], nil, func(r *weftv1.NodeReport) { r.WireguardSlots[0].Port = 70000 }, "port 70000: 1 to 65535"},
		{"bad class", both[:1], nil, func(r *weftv1.NodeReport) { r.Nat4 = "friendly" }, "nat4: \"friendly\" is not a class of NAT"},
		{"bad relays", both[:1], nil, func(r *weftv1.NodeReport) { r.Relays = make([]string, 17) }, "relays: 17; at most 16"},
		{"bad capability", both[:1], nil, func(r *weftv1.NodeReport) { r.Capabilities = []string{strings.Repeat("x", 300)} }, "capabilities: one of 300 bytes: 1 to 256"},
		{"bad capabilities", both[:1], nil, func(r *weftv1.NodeReport) { r.Capabilities = make([]string, 65) }, "capabilities: 65; at most 64"},
	} {
		r := meshed(hello("n1", 1).GetReport(), c.slots, c.in...)
		if c.more != nil {
			c.more(r)
		}
		spec, err := readReport(r)
		got := candidates(spec.Candidates)
		if err != nil {
			got = err.Error()
		}
		if bad := strings.HasPrefix(c.name, "bad"); bad != (err != nil) || !bad && got != c.want || bad && !strings.Contains(got, c.want) {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
}

// stored is the report of a node, as it is stored.
func (f *fabric) stored(node string) (spec kind.ReportSpec) {
	f.t.Helper()
	e, err := f.store.Get(f.t.Context(), kind.Key(kind.Report, "", node))
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := kind.Decode(e.Value, &spec); err != nil {
		f.t.Fatal(err)
	}
	return spec
}

// TestForgedCandidates: what belongs to pods, or is leased to another, is refused in
// hellos and in reports, named, and what was good stands.
func TestForgedCandidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		b := f.join(hello("n2", 2))
		f.put(kind.Lease, "n3", kind.LeaseSpec{Node: "n3", Prefixes: []netip.Prefix{netip.MustParsePrefix("172.20.3.0/24")}})
		synctest.Wait()
		const good = "198.51.100.9:4000/0/echo"
		a := f.join(&weftv1.Hello{Node: "n1", Report: meshed(hello("n1", 1).GetReport(), []uint32{0}, good)})
		synctest.Wait()
		expect(t, "good", candidates(f.stored("n1").Candidates), good)
		for candidate, want := range map[string]string{
			"10.7.7.7:51820/0/echo":   "candidates[1]: 10.7.7.7:51820 lies in 10.0.0.0/8, which belongs to pods or services",
			"172.20.3.9:51820/0/peer": "candidates[1]: 172.20.3.9:51820 lies in the lease 172.20.3.0/24 of node n3",
		} {
			r := meshed(hello("n1", 1).GetReport(), []uint32{0}, "198.51.100.1:1/0/echo", candidate)
			r.Nat4 = string(intent.NATHard)
			a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Report{Report: r}})
			time.Sleep(1500 * time.Millisecond)
			expect(t, "after "+candidate, candidates(f.stored("n1").Candidates), good)
			if got := f.stored("n1").NAT4; got != intent.NATHard {
				t.Errorf("after %s: nothing else of the report was taken: NAT %q", candidate, got)
			}
			if p := fmt.Sprint(problems(statusOf(f, "n1"))); !strings.Contains(p, want) {
				t.Errorf("%s, want %s", p, want)
			}
			a.hear()
			b.hear()
		}
		again := f.join(&weftv1.Hello{Node: "n1", Report: meshed(hello("n1", 1).GetReport(), []uint32{0}, "172.20.3.9:51820/0/peer")})
		synctest.Wait()
		expect(t, "after a hello", candidates(f.stored("n1").Candidates), good)
		if p := fmt.Sprint(problems(statusOf(f, "n1"))); !strings.Contains(p, "candidates[0]: 172.20.3.9:51820 lies in the lease") {
			t.Error(p)
		}
		again.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Report{Report: meshed(hello("n1", 1).GetReport(), []uint32{0}, good)}})
		time.Sleep(1500 * time.Millisecond)
		if p := problems(statusOf(f, "n1")); len(p) > 0 {
			t.Errorf("%q", p)
		}
	})
}

// TestForgedKeys: a device with the key of another node does not count, in hellos and
// in reports, and is named; a device beside it does. Who had the key first keeps it,
// whoever is the first by name, and once it has gone the key is anybody's.
func TestForgedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		slots := func(node string) string {
			var out []string
			for _, s := range f.stored(node).Slots {
				out = append(out, fmt.Sprintf("%d %.4s", s.Slot, s.Key))
			}
			return strings.Join(out, ", ")
		}
		said := func(a *agent, r *weftv1.NodeReport) {
			a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Report{Report: r}})
			time.Sleep(1500 * time.Millisecond)
			a.hear()
		}
		victim := f.join(&weftv1.Hello{Node: "n2", Report: meshed(hello("n2", 2).GetReport(), []uint32{0}, "198.51.100.2:51820/0/echo")})
		synctest.Wait()
		forged := meshed(hello("n1", 1).GetReport(), []uint32{0}, "198.51.100.1:51820/0/echo")
		thief := f.join(&weftv1.Hello{Node: "n1", Report: forged})
		synctest.Wait()
		const want = "wireguard_slots: slot 0 does not count: its key AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= is that of node n2"
		for _, step := range []string{"hello", "report"} {
			expect(t, step, slots("n1")+candidates(f.stored("n1").Candidates), "")
			if p := fmt.Sprint(problems(statusOf(f, "n1"))); !strings.Contains(p, want) {
				t.Errorf("%s: %s, want %s", step, p, want)
			}
			said(thief, forged)
		}
		fresh := meshed(hello("n1", 1).GetReport(), []uint32{0, 1}, "198.51.100.1:51820/0/echo", "198.51.100.1:51821/1/echo")
		fresh.WireguardSlots[1].PublicKey[0] = 7
		said(thief, fresh)
		expect(t, "beside it", slots("n1")+" "+candidates(f.stored("n1").Candidates), "1 BwIC 198.51.100.1:51821/1/echo")
		expect(t, "the victim", slots("n2"), "0 AQEB")
		said(victim, hello("n2", 2).GetReport())
		said(thief, forged)
		expect(t, "once it is free", slots("n1"), "0 AQEB")
		if p := problems(statusOf(f, "n1")); len(p) > 0 {
			t.Errorf("%q", p)
		}
	})
}

// TestSeen: a server adds where it sees the agent, with the port of each device,
// unless the node said so itself, or nobody can send there.
func TestSeen(t *testing.T) {
	for _, c := range []struct {
		from  string
		slots []uint32
		in    []string
		want  string
	}{
		{"198.51.100.7:40000", []uint32{0, 1}, nil, "198.51.100.7:51820/0/seen 198.51.100.7:51821/1/seen"},
		{"198.51.100.7:40000", []uint32{0}, []string{"198.51.100.7:51820/0/echo"}, "198.51.100.7:51820/0/echo"},
		{"198.51.100.7:40000", []uint32{0}, []string{"198.51.100.7:9/0/echo"}, "198.51.100.7:9/0/echo 198.51.100.7:51820/0/seen"},
		{"198.51.100.7:40000", nil, nil, ""},
		{"[2001:db8::7]:40000", []uint32{0}, nil, "[2001:db8::7]:51820/0/seen"},
		{"[::ffff:198.51.100.7]:40000", []uint32{0}, nil, "198.51.100.7:51820/0/seen"},
		{"127.0.0.1:40000", []uint32{0}, nil, ""},
		{"[fe80::7%eth0]:40000", []uint32{0}, nil, ""},
		{"10.1.2.3:40000", []uint32{0}, nil, ""}, // of the cluster's range
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFabric(t, nil)
			f.joinFrom(c.from, &weftv1.Hello{Node: "n1", Report: meshed(hello("n1", 1).GetReport(), c.slots, c.in...)})
			synctest.Wait()
			expect(t, c.from, candidates(f.stored("n1").Candidates), c.want)
		})
	}
}

// TestEchoIsOffered: to agents that know pairs which choose their way, again when half
// of its time is over, and to no other.
func TestEchoIsOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		f := newFabric(t, func(c *Config) {
			c.Echo = func(node string, at netip.Addr, _ time.Time) *weftv1.EchoOffer {
				made++
				return &weftv1.EchoOffer{Cookie: fmt.Appendf(nil, "%s %v %d", node, at, made), Ports: []uint32{7443, 7444}, Seconds: 60}
			}
		})
		offers := func(a *agent) (out []string) {
			for line := range strings.Lines(a.hear()) {
				if cookie, is := strings.CutPrefix(line, "echo "); is {
					out = append(out, strings.TrimSpace(cookie))
				}
			}
			return out
		}
		h := hello("n1", 1)
		meshed(h.GetReport(), []uint32{0})
		a, old := f.joinFrom("198.51.100.7:40000", h), f.join(hello("n2", 2))
		synctest.Wait()
		pass := func(d time.Duration) (got, others string) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				got, others = got+strings.Join(offers(a), " "), others+strings.Join(offers(old), " ")
				a.say(beatUp())
				old.say(beatUp())
			}
			return got, others
		}
		first, other := pass(29 * time.Second)
		expect(t, "at first", first, "n1 198.51.100.7 1")
		second, others := pass(9 * time.Second)
		expect(t, "after half of it", second, "n1 198.51.100.7 2")
		expect(t, "an agent of before", other+others, "")
	})
}

// summary has an agent say how its pairs stand, and answers with what is stored.
func summary(f *fabric, a *agent, m *weftv1.PathSummary) string {
	a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Paths{Paths: m}})
	time.Sleep(1500 * time.Millisecond)
	a.hear()
	entries, _, err := f.store.List(f.t.Context(), kind.ObservedPath("n1"))
	if err != nil {
		f.t.Fatal(err)
	}
	if len(entries) == 0 {
		return ""
	}
	return string(entries[0].Value)
}

// on names peers on another rung than the usual one.
func on(rung string, peers ...string) []*weftv1.RungPeers {
	return []*weftv1.RungPeers{{Rung: rung, Peers: peers}}
}

func TestPathSummaries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a := f.join(hello("n1", 1))
		const stored = `{"epoch":"e1","revision":9,"rungs":{"vxlan":2,"wireguard":1},"usual":"vxlan","others":[{"rung":"wireguard","peers":["n4"]}],"old":1,"oldPeers":["n2"]}`
		good := &weftv1.PathSummary{
			Epoch: "e1", Revision: 9, Rungs: map[string]uint32{"vxlan": 2, "wireguard": 1}, Usual: "vxlan", Others: on("wireguard", "n4"), Old: 1, OldPeers: []string{"n2"},
		}
		expect(t, "nothing to say", summary(f, a, &weftv1.PathSummary{}), "")
		expect(t, "stored", summary(f, a, good), stored)
		rev := f.store.Revision()
		expect(t, "again", summary(f, a, good), stored)
		if f.store.Revision() != rev {
			t.Error("the same was written twice")
		}
		many := map[string]uint32{}
		for i := range maxRungs + 1 {
			many[fmt.Sprint(i)] = 1
		}
		for want, bad := range map[string]*weftv1.PathSummary{
			"paths: rungs: 65 of them; at most 64":                           {Epoch: "e1", Revision: 10, Rungs: many},
			"paths: others: 65 rungs; at most 64":                            {Epoch: "e1", Revision: 10, Others: slices.Repeat(on("down"), maxRungs+1)},
			"paths: others: a rung's name of 0 bytes":                        {Epoch: "e1", Revision: 10, Others: on("", "n2")},
			"paths: others: more than 2048 peers":                            {Epoch: "e1", Revision: 10, Others: on("down", make([]string, maxOthers+1)...)},
			"paths: others: \"N_2\"":                                         {Epoch: "e1", Revision: 10, Others: on("down", "N_2")},
			"paths: others: n2 is on none and on down":                       {Epoch: "e1", Revision: 10, Others: append(on("none", "n2"), on("down", "n2")...)},
			"paths: others: the usual rung has a name of 300 bytes: at most": {Epoch: "e1", Revision: 10, Usual: strings.Repeat("x", 300)},
			"paths: rungs: a name of 0 bytes":                                {Epoch: "e1", Revision: 10, Rungs: map[string]uint32{"": 1}},
			"paths: old_peers: 33; at most 32":                               {Epoch: "e1", Revision: 10, OldPeers: make([]string, 33)},
			"paths: old_peers: \"N_2\"":                                      {Epoch: "e1", Revision: 10, OldPeers: []string{"N_2"}},
			"paths: down_peers: 33; at most 32":                              {Epoch: "e1", Revision: 10, DownPeers: make([]string, 33)},
			"paths: down_peers: \"N_2\"":                                     {Epoch: "e1", Revision: 10, DownPeers: []string{"N_2"}},
		} {
			expect(t, want, summary(f, a, bad), stored)
			if p := fmt.Sprint(problems(statusOf(f, "n1"))); !strings.Contains(p, want) {
				t.Errorf("%s, want %s", p, want)
			}
		}
		expect(t, "a dead peer", summary(f, a, &weftv1.PathSummary{Epoch: "e1", Revision: 10, DownPeers: []string{"n2"}}), `{"epoch":"e1","revision":10,"down":["n2"]}`)
		expect(t, "a node alone", summary(f, a, &weftv1.PathSummary{Epoch: "e1", Revision: 11}), `{"epoch":"e1","revision":11}`)
		expect(t, "no more", summary(f, a, &weftv1.PathSummary{}), "")
	})
}

// TestPathsOfAnotherServerAreWrittenOver: what a node says is stored again when it comes
// back, because another server may have stored something else.
func TestPathsOfAnotherServerAreWrittenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		said := &weftv1.PathSummary{Epoch: "e1", Revision: 9, Rungs: map[string]uint32{"vxlan": 2}}
		want := summary(f, f.join(hello("n1", 1)), said)
		f.write(kind.ObservedPath("n1"), []byte(`{"epoch":"e1","revision":9,"old":3}`))
		expect(t, "back", summary(f, f.join(hello("n1", 1)), said), want)
	})
}

func FuzzReadPaths(f *testing.F) {
	f.Add("e1", int64(9), "vxlan", uint32(2), "n2")
	f.Fuzz(func(t *testing.T, epoch string, rev int64, rung string, n uint32, peer string) {
		o, err := readPaths(&weftv1.PathSummary{Epoch: epoch, Revision: rev, Rungs: map[string]uint32{rung: n}, Usual: epoch, Others: on(rung, peer), OldPeers: []string{peer}})
		if err == nil && (len(o.Epoch) > maxText || len(o.Usual) > maxText || len(rung) > maxText || intent.ValidName(peer) != nil) {
			t.Errorf("%+v", o)
		}
	})
}

func FuzzReadMesh(f *testing.F) {
	f.Add("192.0.2.1:51820", uint32(0), "echo", "none", "mesh")
	f.Fuzz(func(t *testing.T, at string, slot uint32, source, nat, capability string) {
		r := meshed(&weftv1.NodeReport{}, []uint32{0, 1})
		r.Candidates = []*weftv1.Candidate{{Address: at, Slot: slot, Source: source}}
		r.Nat4, r.Capabilities = nat, []string{capability}
		var spec kind.ReportSpec
		if readMesh(&spec, r) != nil {
			return
		}
		for _, c := range spec.Candidates {
			if a := c.Address.Addr(); a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast() || c.Address.Port() == 0 {
				t.Errorf("%v was taken", c)
			}
		}
	})
}
