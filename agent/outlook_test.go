package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	hostroom "github.com/weft-net/weft/agent/host"
	"github.com/weft-net/weft/agent/host/look"
)

// firewalls are those of a host on which nobody does anything.
type firewalls struct {
	fails func() bool
	stirs chan struct{}
}

var errFirewalls = errors.New("nf_tables: no buffer space")

func (f firewalls) Filters(context.Context) ([]datapath.Filter, error) {
	if f.fails() {
		return nil, errFirewalls
	}
	return nil, nil
}
func (firewalls) Stirs() uint64                                   { return 0 }
func (f firewalls) Stirred() <-chan struct{}                      { return f.stirs }
func (firewalls) Counted(context.Context, string) (uint64, error) { return 0, nil }
func (firewalls) Insert(string, string, datapath.Rule) error      { return nil }
func (firewalls) Withdraw(string, string, string, uint64) error   { return nil }

// TestLooked: an agent that has begun says that it has looked once a look has seen the
// whole of the fabric and what it found stands, and no later than lookMost.
func TestLooked(t *testing.T) {
	const never = time.Hour
	for _, tt := range []struct {
		name   string
		there  time.Duration // when the fabric is in place
		fails  time.Duration // until when looks fail
		faulty bool          // there is a finding
		most   time.Duration
		blind  string
	}{
		{name: "nothing is wrong", most: 0},
		{name: "something is wrong: it must stand first", faulty: true, most: stand},
		{name: "the fabric comes later", there: 1500 * time.Millisecond, most: 2 * time.Second},
		{name: "the fabric never comes", there: never, most: lookMost},
		{name: "looks fail for a while", fails: 2500 * time.Millisecond, most: 3 * time.Second},
		{name: "looks always fail", fails: never, most: lookMost, blind: errFirewalls.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				past := func(d time.Duration) bool { return time.Since(began) >= d }
				k := firewalls{fails: func() bool { return !past(tt.fails) }}
				var after time.Duration
				var told []string
				calls, blind := 0, ""
				o := &outlook{
					kernel: k, eyes: look.Eyes{Kernel: k}, log: slog.New(slog.DiscardHandler), lull: lull{stirs: k.Stirs},
					node: func() hostroom.Node { return hostroom.Node{} }, guarded: func() bool { return false }, keep: func() {},
					there: func() bool { return past(tt.there) },
					found: func(fs []hostroom.Finding) {
						for _, f := range fs {
							told = append(told, f.Subject)
						}
					},
					looked: func() { calls++; after = time.Since(began) },
					blind: func(err error) {
						for _, p := range blindness(err) {
							blind = p.Cause
						}
					},
				}
				o.eyes.Clock = func(c *hostroom.Clock) { // whatever this machine's is
					if *c = (hostroom.Clock{}); tt.faulty {
						c.Apart = time.Hour
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := o.run(ctx); err != nil {
					t.Fatal(err)
				}
				if calls != 1 || after > tt.most {
					t.Errorf("looked %d times, after %v; want once, after at most %v", calls, after, tt.most)
				}
				if !strings.Contains(blind, tt.blind) || blind != "" && tt.blind == "" {
					t.Errorf("blindness is told as %q, want %q", blind, tt.blind)
				}
				if tt.faulty != (len(told) > 0) {
					t.Errorf("found %q", told)
				}
			})
		})
	}
}
