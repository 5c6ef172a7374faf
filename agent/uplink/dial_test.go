package uplink

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/agent/uplink/uplinktest"
)

func TestTriesAllServers(t *testing.T) {
	for _, c := range []struct {
		name    string
		dead    func(ctx context.Context) error
		servers []string
		within  time.Duration
	}{
		{"the first refuses", func(context.Context) error { return errors.New("refused") }, []string{"192.0.2.1:7443", "192.0.2.9:7443"}, 300 * time.Millisecond},
		{"the first is silent", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, []string{"192.0.2.1:7443", "192.0.2.9:7443"}, 300 * time.Millisecond},
		{"a name with one dead address", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, []string{"servers.example:7443"}, 300 * time.Millisecond},
		{"three are silent", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, []string{"192.0.2.1:7443", "192.0.2.2:7443", "192.0.2.3:7443", "192.0.2.9:7443"}, 800 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
				n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
				n.order = newOrder("n1", c.servers, nil)
				n.cfg.Resolve = func(context.Context, string) ([]string, error) { return []string{"192.0.2.1", "192.0.2.9"}, nil }
				n.cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
					if addr != "192.0.2.9:7443" {
						return nil, c.dead(ctx)
					}
					return f.Dial(ctx, addr)
				}
				began := time.Now()
				defer n.start(ctx, t)()
				<-f.Streams
				if took := time.Since(began); took > 2*c.within { // once to join, once for the stream
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestNamesAreResolvedAtEachTry(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		n.order = newOrder("n1", []string{"servers.example:7443"}, nil)
		asked := 0
		n.cfg.Resolve = func(context.Context, string) ([]string, error) {
			if asked++; asked < 3 {
				return nil, errors.New("no such host")
			}
			return []string{"192.0.2.9"}, nil
		}
		defer n.start(ctx, t)()
		<-f.Streams
	})
}

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrder("n1", []string{"a", "b", "c"}, nil)
		now := time.Now()
		expect := func(want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, o.list(now)); diff != "" {
				t.Error(diff)
			}
		}
		expect("a", "b", "c")
		o.failed("a")
		expect("b", "c", "a")
		o.hold("c", now.Add(time.Second))
		expect("b", "a")
		if w := o.wait(now); w != 0 {
			t.Errorf("waits %v although b and a are free", w)
		}
		o.hold("a", now.Add(3*time.Second))
		o.hold("b", now.Add(2*time.Second))
		if w := o.wait(now); w != time.Second {
			t.Errorf("waits %v, want 1s", w)
		}
		now = now.Add(time.Second)
		expect("c")
	})
}

func TestPatience(t *testing.T) {
	for _, tt := range []struct {
		name   string
		others bool
		failed uint32
		want   time.Duration
	}{
		{"the only server", false, 0, 12 * time.Second},
		{"the only server, again", false, 3, 12 * time.Second},
		{"there is another to try", true, 0, 3 * time.Second},
		{"none had time", true, 1, 6 * time.Second},
		{"none had time, twice", true, 2, 12 * time.Second},
		{"for long", true, 1 << 31, 12 * time.Second},
	} {
		if got := patience(tt.others, tt.failed); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestAServerThatIsCrowded: one that lets us wait and hangs up is asked again, and
// less and less often; once it has time, we are in.
func TestAServerThatIsCrowded(t *testing.T) {
	in(t, func(t *testing.T, ctx context.Context, f *uplinktest.Fabric) {
		n := newNode(t, f, filepath.Join(t.TempDir(), "agent"))
		var tries []time.Time
		n.cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			if tries = append(tries, time.Now()); len(tries) > 20 {
				return f.Dial(ctx, addr)
			}
			ours, theirs := net.Pipe()
			go func() {
				_, _ = theirs.Read(make([]byte, 1<<14))
				theirs.Close()
			}()
			return ours, nil
		}
		defer n.start(ctx, t)()
		<-f.Streams
		if first := tries[1].Sub(tries[0]); first > backoffMin+backoffMax {
			t.Errorf("the first pause was %v", first)
		}
		if all := tries[20].Sub(tries[10]); all < 10*backoffMax {
			t.Errorf("the last ten pauses were %v together", all)
		}
	})
}
