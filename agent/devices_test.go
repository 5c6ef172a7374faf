package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/detached"
	"github.com/weft-net/weft/proto/intent"
)

// TestDeaths: one death is a problem for a minute, several for an hour.
func TestDeaths(t *testing.T) {
	start := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	end := func(after time.Duration, pid int, how, log string) detached.End {
		return detached.End{Name: "weft-wg0", Unit: "weft-wireguard@weft-wg0.service", PID: pid, How: how, At: start.Add(after), Log: log}
	}
	log := "/var/lib/weft/agent/weft-wg0.log"
	for _, tt := range []struct {
		name string
		ends []detached.End
		at   time.Duration
		want string // none: no problem
	}{
		{"none", nil, 0, ""},
		{
			"one",
			[]detached.End{end(0, 7, "signal: killed", log)},
			59 * time.Second,
			"weft-wg0: its process 7 died at 2026-11-22T05:00:00Z: signal: killed; do: nothing at once, the agent makes another; what it said last: " + log,
		},
		{"one, and it is over", []detached.End{end(0, 7, "signal: killed", log)}, time.Minute, ""},
		{
			"the last of two, with systemd",
			[]detached.End{end(0, 7, "exit status 2", ""), end(30*time.Second, 8, "", "")},
			time.Minute,
			"weft-wg0: its process 8 died at 2026-11-22T05:00:30Z: of what, this kernel does not tell; do: nothing at once, the agent makes another; what it said last: journalctl -u weft-wireguard@weft-wg0",
		},
		{
			"again and again",
			[]detached.End{end(0, 7, "exit status 2", log), end(time.Minute, 8, "exit status 2", log), end(2*time.Minute, 9, "exit status 2", log)},
			59 * time.Minute,
			"weft-wg0: its process died 3 times since 2026-11-22T05:00:00Z, the last, 9, at 2026-11-22T05:02:00Z: exit status 2; do: nothing at once, the agent makes another; what it said last: " + log,
		},
		{"again and again, and it is over", []detached.End{end(0, 7, "", log), end(time.Minute, 8, "", log), end(2*time.Minute, 9, "", log)}, time.Hour, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d deaths
			for _, e := range tt.ends {
				d.add(e)
			}
			var got []string
			for _, p := range d.problems(start.Add(tt.at)) {
				got = append(got, fmt.Sprintf("%s: %s; do: %s", p.Subject, p.Cause, p.Remedy))
			}
			if all := strings.Join(got, "\n"); all != tt.want {
				t.Errorf("%s\nwant\n%s", all, tt.want)
			}
		})
	}
	var d deaths
	for i := range 10_000 {
		d.add(end(time.Duration(i)*time.Millisecond, i, "", ""))
	}
	if len(d.all) > 2*mostDeaths {
		t.Errorf("%d are remembered", len(d.all))
	}
}

// TestNamed: who a peer of a WireGuard device is.
func TestNamed(t *testing.T) {
	key := intent.Key{1}
	n := intent.Node{Peers: []intent.Peer{{Name: "n1"}, {Name: "n3", Slots: []intent.Slot{{Slot: 1, Key: key}}}}}
	for subject, want := range map[string]string{
		"wg peer weft-wg1 " + key.String():           "wg peer n3 in weft-wg1 (" + key.String() + ")",
		"wg peer weft-wg1 " + intent.Key{2}.String(): "wg peer weft-wg1 " + intent.Key{2}.String(),
		"link weft-wg1": "link weft-wg1",
		"route 10.42.1.0/24 metric 0 " + key.String(): "route 10.42.1.0/24 metric 0 " + key.String(),
	} {
		if got := named([]intent.Problem{{Subject: subject}}, n)[0].Subject; got != want {
			t.Errorf("%s: %s; want %s", subject, got, want)
		}
	}
}

// TestLoad: where a flag is in the way, what to do names it.
func TestLoad(t *testing.T) {
	for only, want := range map[string]string{"": "modprobe wireguard, or modprobe tun", "kernel": "without --wireguard kernel", "userspace": "without --wireguard userspace"} {
		if got := load(only); !strings.Contains(got, want) {
			t.Errorf("%q: %s; want %s", only, got, want)
		}
	}
}
