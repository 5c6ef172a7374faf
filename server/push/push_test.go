package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

func TestAJoinIsOneObjectForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		n1 := f.join(hello("n1", 1))
		expect(t, "n1 alone", n1.hear(), lines("begin", "set ClusterConfig//default", "set Node//n1", "end", "complete"))
		n2 := f.join(hello("n2", 2))
		expect(t, "n2", n2.hear(), lines("begin", "set ClusterConfig//default", "set Node//n1", "set Node//n2", "end", "complete"))
		expect(t, "n1", n1.hear(), lines("set Node//n2", "complete"))
		if !cmp.Equal(n1.held, n2.held) || n1.last.GetRevision() != n2.last.GetRevision() {
			t.Errorf("n1 holds %v, n2 %v", n1.held, n2.held)
		}
		f.stop()
		if got := n1.ended(); !strings.HasPrefix(got, "Unavailable: this server is stopping") {
			t.Error(got)
		}
	})
}

func TestComingBack(t *testing.T) {
	for _, c := range []struct {
		name   string
		hello  func(*weftv1.Hello)
		before func(f *fabric)
		want   string
	}{
		{"nothing missed", nil, func(*fabric) {}, "complete"},
		{"a peer missed", nil, func(f *fabric) { f.peer("n5", 5) }, lines("set Node//n5", "complete")},
		{"a peer came and went", nil, func(f *fabric) { f.peer("n5", 5); synctest.Wait(); f.write(kind.Key(kind.Lease, "", "n5"), nil) }, lines("delete Node//n5", "complete")},
		{"only a reservation", nil, func(f *fabric) { f.put(kind.Lease, "n9", kind.LeaseSpec{Node: "n9"}) }, "complete"},
		{"another epoch", func(h *weftv1.Hello) { h.Epoch = "e0" }, func(*fabric) {}, whole("n1", "n2")},
		{"another compile version", func(h *weftv1.Hello) { h.CompileVersion++ }, func(*fabric) {}, whole("n1", "n2")},
		{"ahead of the server", func(h *weftv1.Hello) { h.Revision += 100 }, func(*fabric) {}, whole("n1", "n2")},
		{"older than the start", func(h *weftv1.Hello) { h.Revision = 1 }, func(*fabric) {}, whole("n1", "n2")},
		{"nothing held", func(h *weftv1.Hello) { h.Epoch, h.Revision, h.CompileVersion = "", 0, 0 }, func(*fabric) {}, whole("n1", "n2")},
		{"older than history", nil, func(f *fabric) {
			for i := range 10 {
				f.peer(fmt.Sprint("n", 50+i%2), 5+i)
				synctest.Wait()
			}
		}, whole("n1", "n2", "n50", "n51")},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric(t, func(c *Config) { c.History = 3 })
				n1, n2 := f.join(hello("n1", 1)), f.join(hello("n2", 2))
				n1.hear()
				n2.hear()
				n1.hear()
				n1.gone()
				synctest.Wait()
				c.before(f)
				synctest.Wait()
				h := n1.again(hello("n1", 1))
				if c.hello != nil {
					c.hello(h)
				}
				back := f.join(h)
				back.stage = n1.held
				expect(t, "n1", back.hear(), c.want)
				n2.hear()
				if !cmp.Equal(back.held, n2.held) {
					t.Errorf("n1 holds %v, n2 %v", back.held, n2.held)
				}
			})
		})
	}
}

func whole(peers ...string) string {
	out := []string{"begin", "set ClusterConfig//default"}
	for _, p := range peers {
		out = append(out, "set Node//"+p)
	}
	return lines(append(out, "end", "complete")...)
}

func TestOnlyWhatIsUnderstood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		old := hello("n1", 1)
		old.Collections = []*weftv1.CollectionVersion{{Collection: "cluster", Schema: 7}, {Collection: "peers", Schema: 0}, {Collection: "pools", Schema: 1}}
		n1 := f.join(old)
		expect(t, "an old agent", n1.hear(), lines("begin", "set ClusterConfig//default", "end", "complete"))
		f.peer("n2", 2)
		if got := n1.hear(); strings.Contains(got, "Node") {
			t.Errorf("it is sent what it does not know:\n%s", got)
		}
		n1.gone()
		again := f.join(n1.again(old))
		expect(t, "it comes back", again.hear(), "complete")
		again.gone()
		expect(t, "it was upgraded", f.join(n1.again(hello("n1", 1))).hear(), whole("n1", "n2"))
	})
}

// Agents of the release before know no policies, and are never sent one.
func TestPoliciesAreForThoseWhoKnowThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		old := f.join(hello("n1", 1))
		old.hear()
		h := hello("n2", 2)
		h.Collections = append(slices.Clone(everything), &weftv1.CollectionVersion{Collection: "egress", Schema: 1})
		now := f.join(h)
		now.hear()
		old.hear()
		f.put(kind.EgressPolicy, "web", kind.EgressPolicySpec{OnlyListed: true})
		expect(t, "an agent that knows", now.hear(), lines("set EgressPolicy//web", "complete"))
		expect(t, "one that does not", old.hear(), "complete")
		f.write(kind.Key(kind.EgressPolicy, "", "web"), nil)
		expect(t, "it is gone", now.hear(), lines("delete EgressPolicy//web", "complete"))
		expect(t, "it never was", old.hear(), "complete")
	})
}

func TestRefused(t *testing.T) {
	say := func(h *weftv1.Hello) *weftv1.SyncRequest {
		return &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Hello{Hello: h}}
	}
	with := func(change func(*weftv1.Hello)) *weftv1.SyncRequest {
		h := hello("n1", 1)
		change(h)
		return say(h)
	}
	for _, c := range []struct {
		name string
		cert string
		in   *weftv1.SyncRequest
		want string
	}{
		{"another's name", "n2", say(hello("n1", 1)), `PermissionDenied: the certificate is node n2's, and it may not speak for "n1"`},
		{"no name", "n2", with(func(h *weftv1.Hello) { h.Node = "" }), `PermissionDenied: the certificate is node n2's`},
		{"no hello", "n1", &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Heartbeat{}}, "InvalidArgument: the first message of a stream must be a hello"},
		{"nothing in it", "n1", &weftv1.SyncRequest{}, "InvalidArgument: the first message of a stream must be a hello"},
		{"a long text", "n1", with(func(h *weftv1.Hello) { h.Boot = strings.Repeat("x", 300) }), "InvalidArgument: hello has a text of 300 bytes"},
		{"no report", "n1", with(func(h *weftv1.Hello) { h.Report = nil }), "InvalidArgument: hello's report: is missing"},
		{"no address", "n1", with(func(h *weftv1.Hello) { h.Report.Addresses = nil }), "InvalidArgument: hello's report: the node has no address on the network below"},
		{"a bad address", "n1", with(func(h *weftv1.Hello) { h.Report = report("192.0.2.1") }), `InvalidArgument: hello's report: addresses: "192.0.2.1" is not a prefix`},
		{"loopback", "n1", with(func(h *weftv1.Hello) { h.Report = report("127.0.0.1/8") }), `InvalidArgument: hello's report: addresses: 127.0.0.1 is no address`},
		{"a bad MAC", "n1", with(func(h *weftv1.Hello) { h.Report.VtepMac = "x" }), "InvalidArgument: hello's report: intent: \"x\" is not a MAC address"},
		{"too many labels", "n1", with(func(h *weftv1.Hello) { h.Report.Labels = map[string]string{"a": strings.Repeat("x", 70000)} }), "hello's report: 1 labels with 70001 bytes"},
		{"a bad external address", "n1", with(func(h *weftv1.Hello) { h.Report.ExternalAddresses = []string{"x"} }), `external_addresses: "x" is not an address`},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric(t, nil)
				a := f.dial(c.cert)
				a.say(c.in)
				if got := a.ended(); !strings.Contains(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if len(f.hub.Nodes()) > 0 && f.hub.Nodes()[0].Connected {
					t.Error("it was let in")
				}
			})
		})
	}
}

func TestNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		f.lease.err = fmt.Errorf("10.0.0.0/8: %w", ipam.ErrFull)
		a := f.join(hello("n1", 1))
		expect(t, "told", a.hear(), "backoff 5 s: no lease for node n1: 10.0.0.0/8: "+ipam.ErrFull.Error())
		expect(t, "ended", a.ended(), "ResourceExhausted: no lease for node n1: 10.0.0.0/8: "+ipam.ErrFull.Error())
	})
}

func TestHeartbeatsAndSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		mute := f.dial("n0")
		a := f.join(hello("n1", 1))
		a.hear()
		for range 4 {
			time.Sleep(3 * time.Second)
			expect(t, "every 3 s", a.hear(), "heartbeat")
			a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Heartbeat{Heartbeat: &weftv1.Heartbeat{}}})
		}
		synctest.Wait()
		if s, _ := f.hub.Status("n1"); time.Since(s.Heard) > 0 || !s.Connected {
			t.Errorf("%+v", s)
		}
		start := time.Now()
		go func() {
			for range a.down { // it reads, but says nothing
			}
		}()
		<-a.end
		expect(t, "silent", fmt.Sprint(time.Since(start), a.ended()), "8sDeadlineExceeded: nothing was heard from the agent; is the path between us dead?")
		if s, _ := f.hub.Status("n1"); s.Connected {
			t.Error("still connected")
		}
		if !strings.HasPrefix(mute.ended(), "DeadlineExceeded") {
			t.Error(mute.ended())
		}
		close(a.down)
	})
}

func TestAnAgentThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a := f.join(hello("n1", 1))
		a.hear()
		for i := range 1000 {
			f.peer("n2", i) // the stream holds the first of them
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		if got := a.hear(); strings.Count(got, "set") > 2 {
			t.Errorf("1000 changes of one object made:\n%s", got)
		}
		want, _ := f.hub.objects[ref{intent.CollectionPeers, intent.PeerKey("n2")}]
		if a.held[ref{intent.CollectionPeers, intent.PeerKey("n2")}] != string(want.Value) {
			t.Error("it ended with an old value")
		}
		f.peer("n2", 1)
		for range 4 {
			time.Sleep(2 * time.Second)
			a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Heartbeat{}})
		}
		expect(t, "stalled", a.ended(), "DeadlineExceeded: the agent does not read what it is sent")
	})
}

func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a := f.join(hello("n1", 1))
		a.hear()
		before := f.store.Revision()
		a.report(report("192.0.2.1/24"))
		synctest.Wait()
		if now := f.store.Revision(); now != before {
			t.Errorf("the same report was written: revision %d, then %d", before, now)
		}
		a.report(report("192.0.2.9/24"))
		expect(t, "another", a.hear(), lines("set Node//n1", "complete"))
		for i := range 200 { // an address that flaps
			a.report(report(fmt.Sprintf("192.0.2.%d/24", i+1)))
			time.Sleep(10 * time.Millisecond)
			a.hear()
		}
		if n := f.store.Revision() - before; n > 8 {
			t.Errorf("200 reports in 2 s made %d writes", n)
		}
		time.Sleep(2 * time.Second)
		a.hear()
		if e, _ := f.store.Get(t.Context(), kind.Key(kind.Report, "", "n1")); !strings.Contains(string(e.Value), "192.0.2.200") {
			t.Errorf("the last report was lost: %s", e.Value)
		}
		a.report(report("nonsense"))
		time.Sleep(time.Second)
		s, _ := f.hub.Status("n1")
		expect(t, "bad", strings.Join(problems(s), "\n"), `report: addresses: "nonsense" is not a prefix`)
		a.report(report("192.0.2.9/24"))
		a.hear()
		if s, _ := f.hub.Status("n1"); len(s.Problems) > 0 {
			t.Errorf("mended, yet %v", s.Problems)
		}
		f.store.Down()
		a.report(report("192.0.2.10/24"))
		time.Sleep(2 * time.Second)
		f.heal()
		time.Sleep(2 * time.Second)
		if e, _ := f.store.Get(t.Context(), kind.Key(kind.Report, "", "n1")); !strings.Contains(string(e.Value), "192.0.2.10") {
			t.Errorf("the report was lost while the store was away: %s", e.Value)
		}
	})
}

func TestTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a := f.join(hello("n1", 1))
		a.hear()
		a.gone()
		time.Sleep(time.Second)
		f.store.Down()
		f.lease.err = fmt.Errorf("the store is away")
		back := f.join(a.again(hello("n1", 7)))
		expect(t, "a known node", back.hear(), "complete")
		stranger := f.join(hello("n2", 2))
		if got := stranger.hear(); !strings.HasPrefix(got, "backoff 1 s: no lease for node n2") {
			t.Error(got)
		}
		f.heal()
		time.Sleep(2 * time.Second)
		if e, _ := f.store.Get(t.Context(), kind.Key(kind.Report, "", "n1")); !strings.Contains(string(e.Value), "192.0.2.7") {
			t.Errorf("its report was lost: %s", e.Value)
		}
	})
}

// TestAStoreThatIsSilentIsNoProblemOfANode: what nobody answered is asked again over
// the same stream, and only an answer is a problem, for as long as it stands.
func TestAStoreThatIsSilentIsNoProblemOfANode(t *testing.T) {
	full := fmt.Errorf("10.0.0.0/8: %w", ipam.ErrFull)
	for name, c := range map[string]struct {
		err            error
		noted, settled string
	}{
		"the store is away":   {fmt.Errorf("lease: report of node n1: etcd: get: the embedded etcd does not answer: %w", context.DeadlineExceeded), "", ""},
		"nobody leads":        {errors.New("members: lease of node n1: no server leads"), "", ""},
		"the ranges are full": {full, "lease: " + full.Error(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric(t, nil)
				a := f.join(hello("n1", 1))
				a.hear()
				a.gone()
				time.Sleep(time.Second)
				f.lease.err = c.err
				back := f.join(a.again(hello("n1", 1)))
				expect(t, "let in", back.hear(), "complete")
				s, _ := f.hub.Status("n1")
				expect(t, "noted", strings.Join(problems(s), "\n"), c.noted)
				asked := f.lease.asked()
				f.heal()
				for range 30 {
					time.Sleep(time.Second)
					back.hear()
					back.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Heartbeat{}})
				}
				if s, _ = f.hub.Status("n1"); !s.Connected {
					t.Errorf("the stream ended: %s", back.ended())
				}
				expect(t, "it answers again", strings.Join(problems(s), "\n"), c.settled)
				if n := f.lease.asked() - asked; n != 1 {
					t.Errorf("asked %d times more, want once", n)
				}
			})
		})
	}
}

func TestTheNewestStreamHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		first := f.join(hello("n1", 1))
		first.hear()
		second := f.join(first.again(hello("n1", 1)))
		expect(t, "second", second.hear(), "complete")
		expect(t, "first", first.ended(), "Aborted: another stream of node n1 came, from machine m-n1; the newest holds")
		s, _ := f.hub.Status("n1")
		if !s.Connected || len(s.Problems) > 0 {
			t.Errorf("one that came back: %+v", s)
		}
	})
}

// TestANodeThatMovesIsOne: each new address is a new connection of the same agent.
func TestANodeThatMovesIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a := f.join(hello("n1", 1))
		a.hear()
		for range 5 {
			a = f.join(a.again(hello("n1", 1)))
			a.hear()
			time.Sleep(5 * time.Second)
		}
		if s, _ := f.hub.Status("n1"); len(s.Problems) > 0 {
			t.Errorf("%v", s.Problems)
		}
	})
}

// TestAnAddressThatFlapsIsOne: a process that comes back by an address that it had
// before is no clone of itself.
func TestAnAddressThatFlapsIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		one := func() *weftv1.Hello {
			h := hello("n1", 1)
			h.Instance = "one"
			return h
		}
		a := f.join(one())
		a.hear()
		for i := range 8 {
			a = f.joinFrom(fmt.Sprintf("192.0.2.%d:4000", 1+i%2), a.again(one()))
			if got := a.hear(); !strings.HasSuffix(got, "complete") {
				t.Fatalf("turn %d: %s", i, got)
			}
		}
		if s, _ := f.hub.Status("n1"); len(s.Problems) > 0 {
			t.Errorf("%v", s.Problems)
		}
	})
}

// TestAnAddressThatComesBackIsOne: a link that failed over and back.
func TestAnAddressThatComesBackIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		for _, from := range []string{"192.0.2.1:1", "192.0.2.2:1", "192.0.2.1:2"} {
			a := f.joinFrom(from, hello("n1", 1))
			synctest.Wait()
			time.Sleep(5 * time.Second) // the other's end of its stream does not answer
			if got := a.hear(); !strings.Contains(got, "complete") {
				t.Error(got)
			}
		}
		if s, _ := f.hub.Status("n1"); len(s.Problems) > 0 {
			t.Errorf("%v", s.Problems)
		}
	})
}

func TestTakingTurnsIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a := f.join(hello("n1", 1))
		a.hear()
		for i := range 5 {
			h := a.again(hello("n1", 1))
			h.Boot = []string{"b1", "b2"}[i%2]
			a = f.join(h)
			synctest.Wait()
			time.Sleep(5 * time.Second) // the other has been asked, and gave no answer
			a.hear()
		}
		s, _ := f.hub.Status("n1")
		if len(s.Problems) != 1 || !strings.Contains(s.Problems[0].Cause, "both speak as node n1") {
			t.Errorf("%v", s.Problems)
		}
	})
}

func TestARevokedNodeIsCutAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a := f.join(hello("n1", 1))
		a.hear()
		time.Sleep(2 * time.Second)
		a.endpoints(true, nil, "n1/c1/eth0")
		synctest.Wait()
		if !f.hub.Cut("n1", "node n1 was deleted") || f.hub.Cut("n1", "again") {
			t.Error("there was one stream to cut")
		}
		expect(t, "cut", a.ended(), "PermissionDenied: node n1 was deleted")
		if _, err := f.store.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: store.Observed, Prefix: true}}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if left, _, _ := f.store.List(t.Context(), store.Observed); len(left) > 0 || len(f.hub.Nodes()) > 0 {
			t.Errorf("written again: %v, %v", left, f.hub.Nodes())
		}
	})
}

func TestWaitApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a, b := f.join(hello("n1", 1)), f.join(hello("n2", 2))
		a.hear()
		b.hear()
		rev := f.peer("n3", 3)
		a.hear()
		b.hear()
		a.ack(rev)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := f.hub.WaitApplied(ctx, rev); !cmp.Equal(got, []string{"n2"}) {
			t.Errorf("behind: %v", got)
		}
		done := make(chan []string)
		go func() { done <- f.hub.WaitApplied(t.Context(), rev) }()
		synctest.Wait()
		b.ack(rev + 1) // never sent
		b.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Ack{Ack: &weftv1.Ack{Epoch: "e0", Revision: rev}}})
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("somebody else's revision counted")
		default:
		}
		b.ack(rev)
		if got := <-done; len(got) > 0 {
			t.Errorf("behind: %v", got)
		}
	})
}

func TestIntentIsWhatIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a := f.join(hello("n1", 1))
		a.hear()
		got := map[ref]string{}
		n := f.hub.Intent("n1")
		for _, s := range n.GetObjects() {
			got[ref{s.GetCollection(), s.GetKey()}] = string(s.GetValue())
		}
		if diff := cmp.Diff(a.held, got, cmp.AllowUnexported(ref{})); diff != "" || n.GetRevision() != a.last.GetRevision() || n.GetEpoch() != "e1" {
			t.Error(diff, n.GetRevision(), a.last)
		}
	})
}

func TestHubNeedsAMirror(t *testing.T) {
	h := New(Config{Mirror: store.NewCache(nil, store.Intent)})
	if err := h.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "not mirrored yet") {
		t.Error(err)
	}
}
