package tailscale

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/tailscale/tailscaletest"
)

// observe is what the agent would see of a daemon.
func observe(t interface{ Fatal(...any) }, d *tailscaletest.Daemon) State {
	var status, prefs, words bytes.Buffer
	if err := d.Call([]string{"status", "--json"}, &status, &words); err != nil {
		t.Fatal(err)
	}
	if err := d.Call([]string{"debug", "prefs"}, &prefs, &words); err != nil {
		t.Fatal(err)
	}
	s, err := ParseState(status.Bytes(), prefs.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// flagged is a daemon that has been used, with settings as --name=value.
func flagged(backend string, flags ...string) *tailscaletest.Daemon {
	d := &tailscaletest.Daemon{Backend: backend, Known: true, Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.1")}}
	for _, f := range flags {
		name, value, _ := strings.Cut(strings.TrimPrefix(f, "--"), "=")
		d.Set(name, value)
	}
	return d
}

// withExit makes the daemon use an exit that is known by its number only.
func withExit(d *tailscaletest.Daemon, id string) *tailscaletest.Daemon {
	d.Exit = id
	return d
}

func pfx(s string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range strings.Fields(s) {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestNext(t *testing.T) {
	fresh := &tailscaletest.Daemon{}
	ours := Wish{Known: true, Carried: true, Routes: pfx("10.42.1.0/24")}
	for _, c := range []struct {
		name string
		d    *tailscaletest.Daemon
		auth string
		w    Wish
		r    Record
		want string
	}{
		{"fresh", fresh, "joinKey=k", Wish{}, Record{}, "up --timeout=30s --accept-dns=false KEY"},
		{"fresh, Headscale and flags", fresh, "joinKey=k,controlServerURL=https://h,extraArgs=--hostname=n7", Wish{}, Record{}, "up --timeout=30s --hostname=n7 --login-server=https://h --accept-dns=false KEY"},
		{"fresh, DNS wanted", fresh, "joinKey=k,extraArgs=--accept-dns=true", Wish{}, Record{}, "up --timeout=30s --accept-dns=true KEY"},
		{"fresh, no key", fresh, "", Wish{}, Record{}, "-"},
		{"logged in by somebody, wish not known", flagged("Running"), "", Wish{}, Record{}, "-"},
		{"logged in by somebody", flagged("Running"), "", ours, Record{}, "set --accept-routes=true"},
		{"routes", flagged("Running", "--accept-routes=true"), "", ours, Record{}, "set --advertise-routes=10.42.1.0/24"},
		{"routes beside others'", flagged("Running", "--accept-routes=true", "--advertise-routes=192.168.1.0/24"), "", ours, Record{}, "set --advertise-routes=10.42.1.0/24,192.168.1.0/24"},
		{"routes beside an exit", flagged("Running", "--accept-routes=true", "--advertise-exit-node=true"), "", ours, Record{}, "set --advertise-routes=10.42.1.0/24"},
		{"all done", flagged("Running", "--accept-routes=true", "--advertise-routes=10.42.1.0/24"), "", ours, Record{Accepted: true, Routes: pfx("10.42.1.0/24")}, "-"},
		{"it was advertised before us", flagged("Running", "--accept-routes=true", "--advertise-routes=10.42.1.0/24"), "", ours, Record{}, "-"},
		{"a lease that went", flagged("Running", "--accept-routes=true", "--advertise-routes=10.42.1.0/24,10.42.9.0/24,192.168.1.0/24"), "", ours, Record{Routes: pfx("10.42.1.0/24 10.42.9.0/24")}, "set --advertise-routes=10.42.1.0/24,192.168.1.0/24"},
		{"wiped by somebody", flagged("Running", "--accept-routes=true"), "", ours, Record{Routes: pfx("10.42.1.0/24")}, "set --advertise-routes=10.42.1.0/24"},
		{"further routes", flagged("Running", "--accept-routes=true"), "extraArgs=--advertise-routes=192.168.7.0/24", ours, Record{}, "set --advertise-routes=10.42.1.0/24,192.168.7.0/24"},
		{"another backend", flagged("Running", "--advertise-routes=192.168.1.0/24"), "", Wish{Known: true, Routes: pfx("10.42.1.0/24")}, Record{}, "-"},
		{"left for another backend", flagged("Running", "--accept-routes=true", "--advertise-routes=10.42.1.0/24"), "", Wish{Known: true}, Record{Accepted: true, Routes: pfx("10.42.1.0/24")}, "set --accept-routes=false"},
		{"stopped", flagged("Stopped", "--hostname=n7"), "joinKey=k", ours, Record{}, "up"},
		{"logged out, set to things", flagged("NeedsLogin", "--hostname=n7", "--ssh=true", "--advertise-routes=192.168.1.0/24", "--accept-dns=false"), "joinKey=k", ours, Record{}, "up --timeout=30s --accept-dns=false --advertise-routes=192.168.1.0/24 --hostname=n7 --ssh=true KEY"},
		{"an administrator is to approve", flagged("NeedsMachineAuth"), "joinKey=k", ours, Record{}, "-"},
		{"an exit is used that no flag names", withExit(flagged("NeedsLogin"), "nABC"), "joinKey=k", ours, Record{}, "-"},
		{"settings that up resets", flagged("NeedsLogin", "--webclient=true", "--update-check=false"), "joinKey=k", ours, Record{}, "up --timeout=30s KEY, to restore --update-check=false --webclient=true"},
		{"an earlier try reset them", flagged("NeedsLogin"), "joinKey=k", ours, Record{Restore: []string{"--webclient=true"}}, "up --timeout=30s KEY, to restore --webclient=true"},
		{"joined, to be restored", flagged("Running"), "", Wish{}, Record{Restore: []string{"--webclient=true"}}, "set --webclient=true"},
		{"refused", fresh, "joinKey=k", Wish{Refused: "overlap"}, Record{}, "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := ParseAuth(strings.TrimSuffix("name=tailscale,"+c.auth, ","))
			if err != nil {
				t.Fatal(err)
			}
			got := "-"
			if call, more := Next(observe(t, c.d), a, c.w, c.r); more {
				got = strings.Join(call.Args, " ")
				if call.Key {
					got += " KEY"
				}
				if len(call.After.Restore) > 0 {
					got += ", to restore " + strings.Join(call.After.Restore, " ")
				}
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	at := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	w := Wish{
		Known: true, Carried: true, Routes: pfx("10.42.1.0/24"), Ranges: pfx("10.42.0.0/16"),
		Peers: []Peer{{"n2", pfx("10.42.2.0/24")}, {"n3", pfx("10.42.3.0/24")}},
	}
	up := State{
		Backend: running, TUN: true, Name: "n1", Who: []string{"tag:weft"}, Approved: pfx("10.42.1.0/24"), Carried: pfx("10.42.2.0/23"),
		Prefs: Prefs{ControlURL: tailscaleURL, RouteAll: true},
	}
	for _, c := range []struct {
		name string
		edit func(*State, *Auth, *Wish)
		want string
	}{
		{"all well", func(*State, *Auth, *Wish) {}, ""},
		{"logged out", func(s *State, _ *Auth, _ *Wish) { s.Backend = needsLogin }, "this node is logged out of its tailnet, or its key has expired, and --vpn-auth holds no joinKey -> tailscale up --accept-dns=false, and follow the link; or give a joinKey to --vpn-auth-file"},
		{"logged out of Headscale", func(s *State, a *Auth, _ *Wish) { s.Backend, a.ControlURL = needsLogin, "https://h" }, "this node is logged out of its tailnet, or its key has expired, and --vpn-auth holds no joinKey -> tailscale up --accept-dns=false --login-server=https://h, and follow the link; or give a joinKey to --vpn-auth-file"},
		{"not approved by an administrator", func(s *State, _ *Auth, _ *Wish) { s.Backend = needsMachine }, "the tailnet waits for an administrator to approve this node, n1 -> approve it in the admin console (Machines), or join with a key that is pre-approved"},
		{"starting", func(s *State, _ *Auth, _ *Wish) { s.Backend = "Starting" }, "tailscaled is not up: Starting -> it is tried again; look: tailscale status"},
		{"userspace networking", func(s *State, _ *Auth, _ *Wish) { s.TUN = false }, "tailscaled has no device: no packet of this node goes through it -> start tailscaled without --tun=userspace-networking"},
		{"elsewhere", func(_ *State, a *Auth, _ *Wish) { a.ControlURL = "https://other" }, "this node is logged in at https://controlplane.tailscale.com, and controlServerURL is https://other -> tailscale logout, and the agent logs in there; or correct controlServerURL"},
		{"the same, with a slash", func(s *State, a *Auth, _ *Wish) { s.Prefs.ControlURL, a.ControlURL = "https://h", "https://h/" }, ""},
		{"key ends soon", func(s *State, _ *Auth, _ *Wish) { s.Expiry = at.Add(time.Hour) }, "the key of this node, n1, ends at 2026-11-22T06:00:00Z: then it is logged out -> disable key expiry for it in the admin console (Machines), or: tailscale up --force-reauth"},
		{"key ends late", func(s *State, _ *Auth, _ *Wish) { s.Expiry = at.Add(30 * 24 * time.Hour) }, ""},
		{"shields", func(s *State, _ *Auth, _ *Wish) { s.Prefs.ShieldsUp = true }, "shields are up: nothing from other nodes reaches the pods here -> tailscale set --shields-up=false"},
		{"shields, and nothing is carried", func(s *State, _ *Auth, w *Wish) { s.Prefs.ShieldsUp, w.Carried = true, false }, ""},
		{"stateful", func(s *State, _ *Auth, _ *Wish) { s.Prefs.NoStatefulFiltering = new(bool) }, "stateful filtering is on: other nodes' pods cannot open connections to the pods here -> tailscale set --stateful-filtering=false"},
		{"own not approved", func(s *State, _ *Auth, _ *Wish) { s.Approved = nil }, `10.42.1.0/24 is advertised, and the tailnet has not approved it: no other node reaches the pods here -> into the tailnet's policy file: "autoApprovers": {"routes":{"10.42.0.0/16":["tag:weft"]}}; or approve the routes of n1 (Machines, Edit route settings)`},
		{"own, of which Headscale does not tell", func(s *State, _ *Auth, _ *Wish) { s.Approved, s.Prefs.ControlURL = nil, "https://h" }, ""},
		{"an exit's default route approves nothing", func(s *State, _ *Auth, _ *Wish) { s.Carried = pfx("0.0.0.0/0 10.42.3.0/24") }, `the tailnet carries no 10.42.2.0/24 of n2: not approved there, or not advertised, and the pods there are not reached from here -> into the tailnet's policy file: "autoApprovers": {"routes":{"10.42.0.0/16":["tag:weft"]}}; or approve what these nodes advertise (Headscale: headscale nodes approve-routes); or start their agents`},
		{"many", func(s *State, _ *Auth, w *Wish) {
			s.Carried = nil
			w.Peers = append(w.Peers, Peer{"n4", pfx("10.42.4.0/24")}, Peer{"n5", pfx("10.42.5.0/24")}, Peer{"n6", pfx("10.42.6.0/24")})
		}, `the tailnet carries no 10.42.2.0/24 of n2, 10.42.3.0/24 of n3, 10.42.4.0/24 of n4, and of 2 more nodes: not approved there, or not advertised, and the pods there are not reached from here -> into the tailnet's policy file: "autoApprovers": {"routes":{"10.42.0.0/16":["tag:weft"]}}; or approve what these nodes advertise (Headscale: headscale nodes approve-routes); or start their agents`},
		{"an exit that would be lost", func(s *State, a *Auth, _ *Wish) { s.Backend, a.JoinKey, s.Prefs.ExitNodeID = needsLogin, "k", "nABC" }, "this node is logged out of its tailnet, and used an exit node there (nABC), which a login by its key would lose -> tailscale up --exit-node=ADDRESS --auth-key=…, by hand; or give the exit up: tailscale set --exit-node="},
		{"overlap, outside", func(s *State, _ *Auth, w *Wish) {
			s.Backend, w.Refused = stopped, "spec.clusterCIDRs[0]: 100.64.0.0/16 overlaps"
		}, "this node stays out of the tailnet: spec.clusterCIDRs[0]: 100.64.0.0/16 overlaps -> take other ranges for the fabric, or leave --vpn-auth out"},
		{"overlap", func(_ *State, _ *Auth, w *Wish) { w.Refused = "spec.clusterCIDRs[0]: 100.64.0.0/16 overlaps" }, "this node is in a tailnet, and must not be: spec.clusterCIDRs[0]: 100.64.0.0/16 overlaps -> take other ranges for the fabric; or leave --vpn-auth out, and: tailscale down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, a, wish := up, Auth{}, w
			wish.Peers = slices.Clone(w.Peers)
			c.edit(&s, &a, &wish)
			var got []string
			for _, p := range Problems(s, a, wish, at) {
				got = append(got, p.Cause+" -> "+p.Remedy)
			}
			if text := strings.Join(got, "\n"); text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

func TestWay(t *testing.T) {
	s := State{Who: []string{"tag:weft"}, Carried: pfx("10.42.2.0/24 10.42.3.0/24 10.42.4.0/24"), Members: []Member{
		{Name: "n2", Routes: pfx("10.42.2.0/24"), Addr: "192.0.2.7:41641", Relay: "fra"}, {Name: "n3", Routes: pfx("10.42.3.0/24"), Relay: "fra"}, {Name: "n4", Routes: pfx("10.42.4.0/24")},
	}}
	for prefix, want := range map[string]string{
		"10.42.2.0/24": "true carried, directly to 192.0.2.7:41641",
		"10.42.3.0/24": "true carried, over relay fra while no direct way is in use",
		"10.42.4.0/24": "true carried",
		"10.42.5.0/24": `false the tailnet carries no 10.42.5.0/24: not approved there, or not advertised; into its policy file: "autoApprovers": {"routes":{"10.42.0.0/16":["tag:weft"]}}`,
	} {
		carried, why := s.Way(pfx(prefix), pfx("10.42.0.0/16"))
		if got := yes(carried) + " " + why; got != want {
			t.Errorf("%s: %s, want %s", prefix, got, want)
		}
	}
}

// FuzzParseState. Its seeds are as short as they can be: what the fuzzer finds of
// interest it makes shorter for up to a minute, in time that goes with the square of
// the length.
func FuzzParseState(f *testing.F) {
	for _, c := range []struct{ status, prefs string }{
		{`{"BackendState":"Running","TUN":true,"TailscaleIPs":["100.64.0.1"]}`, `{"ControlURL":"https://h"}`},
		{`{"BackendState":"Running","Self":{"UserID":7,"AllowedIPs":["10.42.1.0/24"]},"User":{"7":{"LoginName":"a"}}}`, `{"RouteAll":true}`},
		{`{"BackendState":"NeedsLogin","Peer":{"k":{"AllowedIPs":["10.42.2.0/24"]}}}`, `{"AdvertiseRoutes":["10.42.1.0/24"]}`},
		{`{"BackendState":"Stopped","Self":{"Tags":["tag:a"],"KeyExpiry":"2026-11-22T00:00:00Z"}}`, `{"AutoUpdate":{"Apply":null}}`},
	} {
		f.Add([]byte(c.status), []byte(c.prefs))
	}
	f.Fuzz(func(t *testing.T, status, prefs []byte) {
		s, err := ParseState(status, prefs)
		if err != nil {
			return
		}
		for _, p := range slices.Concat(s.Approved, s.Carried, s.Prefs.AdvertiseRoutes) {
			if !p.IsValid() {
				t.Fatal("took a prefix that is none")
			}
		}
		for _, a := range s.Addrs {
			if !member(a) {
				t.Fatalf("took %v for the node's", a)
			}
		}
		w := Wish{Known: true, Carried: true, Routes: pfx("10.42.1.0/24")}
		if c, more := Next(s, Auth{JoinKey: "k"}, w, Record{}); more && len(c.Args) > 0 && c.Args[0] == "set" && slices.Contains(c.Args, "--advertise-routes=") {
			t.Fatal("wiped what is advertised")
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"schema":1,"restore":["--webclient=true"]}`))
	f.Add([]byte(`{"schema":1,"broughtUp":true,"advertised":["10.42.1.0/24"],"addresses":["100.64.0.1"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, _, err := decode(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(recorded{Schema: 1, Up: r.Up, Accepted: r.Accepted, Routes: r.Routes, Restore: r.Restore})
		if err != nil {
			t.Fatal(err)
		}
		if o, _, err := decode(again); err != nil || !o.Equal(r) {
			t.Fatalf("%v became %v: %v", r, o, err)
		}
	})
}
