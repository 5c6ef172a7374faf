package tailscale

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weft-net/weft/agent/tailscale/tailscaletest"
)

var (
	walkLeases   = pfx("10.42.1.0/24 10.42.2.0/24 fd42:42:0:1::/64")
	walkTheirs   = pfx("192.168.1.0/24 192.168.2.0/24 fd00:1::/64")
	walkSettings = []string{"ssh", "shields-up", "report-posture", "webclient", "auto-update"}
)

// walk is a daemon that an operator, a fabric and an agent share.
type walk struct {
	t        *rapid.T
	d        *tailscaletest.Daemon
	w        Wish
	r        Record
	brought  bool                  // somebody brought the node up, not we
	foreign  map[netip.Prefix]bool // whether an operator advertises it
	settings map[string]string     // an operator's
}

// TestWalk: whatever operator, fabric and time do to a daemon, in any order, the
// node's leases come to be advertised, what an operator advertises stays, and so does
// every other setting; and leaving takes back ours and no more.
func TestWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWalk(t)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			w.step()
			w.settle(true)
			w.kept()
		}
		w.settle(false) // nobody disturbs any more
		if lacks := less(w.w.Routes, w.d.Routes()); w.w.Known && w.w.Carried && len(lacks) > 0 {
			t.Fatalf("%v is not advertised", lacks)
		}
		w.leave()
	})
}

func newWalk(t *rapid.T) *walk {
	w := &walk{t: t, d: &tailscaletest.Daemon{Addrs: member1[:1]}, foreign: map[netip.Prefix]bool{}, settings: map[string]string{}}
	if rapid.Bool().Draw(t, "joined by somebody") {
		w.d, w.brought = flagged("Running"), true
	}
	w.d.Keys = map[string]int{"k": -1}
	return w
}

// step is what somebody does, or time.
func (w *walk) step() {
	t, d := w.t, w.d
	switch step := rapid.IntRange(0, 6).Draw(t, "step"); {
	case step == 0: // the fabric
		w.w = Wish{Known: true, Carried: rapid.Bool().Draw(t, "carried"), Routes: slices.DeleteFunc(slices.Clone(walkLeases), func(netip.Prefix) bool { return rapid.Bool().Draw(t, "not leased") })}
	case !d.Known:
	case step == 1: // an operator advertises, as K3s's users do, all anew
		all, p := d.Routes(), rapid.SampledFrom(walkTheirs).Draw(t, "theirs")
		if w.foreign[p] = !w.foreign[p]; w.foreign[p] {
			all = append(all, p)
		} else {
			all = less(all, []netip.Prefix{p})
		}
		d.Set("advertise-routes", list(all))
	case step == 2 && len(w.r.Restore) == 0: // what is to be set again is set again
		name := rapid.SampledFrom(walkSettings).Draw(t, "setting")
		w.settings[name] = yes(rapid.Bool().Draw(t, "on"))
		d.Set(name, w.settings[name])
	case step == 3:
		d.Backend = rapid.SampledFrom([]string{"Stopped", "NeedsLogin", "Running"}).Draw(t, "backend")
		w.brought = w.brought && d.Backend == "Running"
	case step == 4: // somebody wipes our routes
		d.Set("advertise-routes", list(less(d.Routes(), walkLeases)))
	}
}

// settle is the agent's turns. It may be killed with the record on disk, or with the
// call done as well.
func (w *walk) settle(killed bool) {
	for range 12 {
		c, more := Next(observe(w.t, w.d), Auth{JoinKey: "k"}, w.w, w.r)
		if !more {
			return
		}
		if killed && rapid.IntRange(0, 9).Draw(w.t, "killed") == 0 {
			w.r = c.Before
			if rapid.Bool().Draw(w.t, "after") {
				w.perform(c)
			}
			continue
		}
		w.perform(c)
		w.r = c.After
	}
	if !killed {
		w.t.Fatal("no rest after 12 calls")
	}
}

// perform runs a call. It may be refused only for its key.
func (w *walk) perform(c Call) {
	if len(c.Args) == 0 {
		return
	}
	args := c.Args
	if c.Key {
		args = append(slices.Clone(args), "--auth-key=k")
	}
	var words bytes.Buffer
	if err := w.d.Call(args, &words, &words); err != nil {
		w.t.Fatalf("tailscale %v is refused: %v", args, err)
	}
}

// kept fails if something of the operator's is not as he left it.
func (w *walk) kept() {
	have := w.d.Routes()
	for p := range w.foreign {
		if w.foreign[p] != slices.Contains(have, p) {
			w.t.Fatalf("%v of an operator: advertised %v, wanted %v", p, !w.foreign[p], w.foreign[p])
		}
	}
	for name, value := range w.settings {
		if len(w.r.Restore) == 0 && w.d.Get(name) != value {
			w.t.Fatalf("--%s is %s, the operator said %s", name, w.d.Get(name), value)
		}
	}
}

// leave is what cleanup does.
func (w *walk) leave() {
	t, up := w.t, w.r.Up
	for range 5 {
		if c, more := Leave(observe(t, w.d), w.r); more {
			w.perform(c)
			w.r = c.After
		}
	}
	if !w.r.Equal(Record{}) {
		t.Fatalf("left with %v not taken back", w.r)
	}
	if left := less(w.d.Routes(), walkTheirs); len(left) > 0 {
		t.Fatalf("%v of ours is still advertised", left)
	}
	if down := w.d.Backend == "Stopped"; down != up || up && w.brought {
		t.Fatalf("down %v; brought up by us %v, by somebody %v", down, up, w.brought)
	}
	w.kept()
}
