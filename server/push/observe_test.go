package push

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

// observed reads a node's observation.
func (f *fabric) observed(node string) kind.NodeObservation {
	f.t.Helper()
	e, err := f.store.Get(f.t.Context(), kind.ObservedNode(node))
	if err != nil {
		f.t.Fatal(err)
	}
	o, err := kind.DecodeObservation[kind.NodeObservation](e)
	if err != nil {
		f.t.Fatal(err)
	}
	return o
}

// storedEndpoints lists the keys of the endpoints stored.
func (f *fabric) storedEndpoints() string {
	f.t.Helper()
	entries, _, err := f.store.List(f.t.Context(), kind.ObservedEndpoints)
	if err != nil {
		f.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimPrefix(e.Key, kind.ObservedEndpoints))
	}
	return strings.Join(out, " ")
}

func TestWhatIsObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		time.Sleep(time.Hour)
		came := time.Now().Unix()
		a := f.join(hello("n1", 1))
		a.hear()
		rev := a.last.GetRevision()
		a.ack(rev)
		a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_ObjectError{ObjectError: &weftv1.ObjectError{Collection: "peers", Key: "Node//n1", Revision: rev, Error: "no route", Remedy: "add one"}}})
		a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Problems{Problems: &weftv1.ProblemReport{Problems: []*weftv1.Problem{{Subject: "eth0", Cause: "down", Remedy: "plug it in", SinceUnix: 7}}}}})
		time.Sleep(1500 * time.Millisecond)
		expect(t, "there", fmt.Sprintf("%+v", f.observed("n1")), fmt.Sprintf("%+v", kind.NodeObservation{
			Version: "0.1.0", Boot: "b1", Machine: "m-n1", HeardUnix: came, AppliedRevision: rev, Epoch: "e1", Revision: rev, Run: "r1",
			Problems:     []kind.Problem{{Subject: "eth0", Cause: "down", Remedy: "plug it in", SinceUnix: 7}},
			ObjectErrors: []kind.ObjectError{{Collection: "peers", Key: "Node//n1", Revision: rev, Error: "no route", Remedy: "add one"}},
		}))
		a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_ObjectError{ObjectError: &weftv1.ObjectError{Collection: "peers", Key: "Node//n1"}}})
		time.Sleep(1500 * time.Millisecond)
		if o := f.observed("n1"); len(o.ObjectErrors) > 0 {
			t.Errorf("taken back, yet %v", o.ObjectErrors)
		}
		a.gone()
		time.Sleep(1500 * time.Millisecond)
		if o := f.observed("n1"); !o.Gone || o.AppliedRevision != rev {
			t.Errorf("gone: %+v", o)
		}
	})
}

func TestStatusDoesNotWakeItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		var agents []*agent
		for i := range 5 {
			agents = append(agents, f.join(hello(fmt.Sprint("n", i), i+1)))
			for _, a := range agents {
				a.hear()
			}
		}
		follow := func(d time.Duration) { // agents acknowledge all that comes
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				for _, a := range agents {
					a.hear()
					a.ack(a.last.GetRevision())
				}
			}
		}
		follow(5 * time.Second)
		before := f.store.Revision()
		follow(50 * time.Second)
		if after := f.store.Revision(); after != before {
			t.Errorf("nothing happened, and the store went from revision %d to %d", before, after)
		}
		f.put(kind.Lease, "n99", kind.LeaseSpec{Node: "n99"}) // an intent that compiles to nothing
		follow(3 * time.Second)
		if after := f.store.Revision(); after != before+1 {
			t.Errorf("a marker was acknowledged, and the store went from revision %d to %d", before+1, after)
		}
		follow(time.Minute)
		if after := f.store.Revision(); after > before+3 {
			t.Errorf("a minute without news took %d writes", after-before-1)
		}
	})
}

func TestWritesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a := f.join(hello("n1", 1))
		a.hear()
		time.Sleep(2 * time.Second)
		before := f.store.Revision()
		for i := range 100 {
			a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Problems{Problems: &weftv1.ProblemReport{Problems: []*weftv1.Problem{{Subject: fmt.Sprint(i)}}}}})
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		if n := f.store.Revision() - before; n > 3 {
			t.Errorf("100 reports in 2 s made %d writes", n)
		}
		if got := f.observed("n1").Problems; len(got) != 1 || got[0].Subject != "99" {
			t.Errorf("the last report is not what is stored: %v", got)
		}
	})
}

func TestEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		f.write(kind.ObservedEndpoint("n1/stale/eth0"), []byte(`{"key":"n1/stale/eth0"}`))
		f.write(kind.ObservedEndpoint("n10/other/eth0"), []byte(`{}`))
		a := f.join(hello("n1", 1))
		a.hear()
		for _, step := range []struct {
			name string
			do   func()
			want string
		}{
			{"a full list", func() { a.endpoints(true, nil, "n1/c1/eth0", "n1/c2/eth0") }, "n1/c1/eth0 n1/c2/eth0 n10/other/eth0"},
			{"one more", func() { a.endpoints(false, nil, "n1/c3/eth0") }, "n1/c1/eth0 n1/c2/eth0 n1/c3/eth0 n10/other/eth0"},
			{"one less", func() { a.endpoints(false, []string{"n1/c1/eth0", "n1/unknown/eth0"}) }, "n1/c2/eth0 n1/c3/eth0 n10/other/eth0"},
			{"another's", func() { a.endpoints(false, []string{"n10/other/eth0"}, "n10/mine/eth0", "n1/c4/eth0") }, "n1/c2/eth0 n1/c3/eth0 n1/c4/eth0 n10/other/eth0"},
			{"odd keys", func() {
				a.endpoints(false, nil, "", "n1", "n1/", "n1//eth0", "n1/c9/", "n1/a/b/c", "n1/"+strings.Repeat("x", 600)+"/eth0")
			}, "n1/c2/eth0 n1/c3/eth0 n1/c4/eth0 n10/other/eth0"},
			{"moved in one delta", func() { a.endpoints(false, []string{"n1/c2/eth0"}, "n1/c2/eth0") }, "n1/c2/eth0 n1/c3/eth0 n1/c4/eth0 n10/other/eth0"},
			{"none left", func() { a.endpoints(true, nil) }, "n10/other/eth0"},
		} {
			step.do()
			time.Sleep(1500 * time.Millisecond)
			a.hear()
			expect(t, step.name, f.storedEndpoints(), step.want)
		}
		before := f.store.Revision()
		a.endpoints(true, nil)
		time.Sleep(2 * time.Second)
		if f.store.Revision() != before {
			t.Error("the same list was written again")
		}
		f.store.Down()
		a.endpoints(false, nil, "n1/late/eth0")
		time.Sleep(2 * time.Second)
		f.heal()
		time.Sleep(2 * time.Second)
		expect(t, "while the store was away", f.storedEndpoints(), "n1/late/eth0 n10/other/eth0")
	})
}

// TestEndpointsToldWhileTheStoreIsAway: what could not be read is read later; it is
// no problem of the node.
func TestEndpointsToldWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		f.write(kind.ObservedEndpoint("n1/stale/eth0"), []byte(`{"key":"n1/stale/eth0"}`))
		a := f.join(hello("n1", 1))
		a.hear()
		f.store.Down()
		a.endpoints(true, nil, "n1/c1/eth0")
		time.Sleep(2 * time.Second)
		f.heal()
		time.Sleep(3 * time.Second)
		expect(t, "stored", f.storedEndpoints(), "n1/c1/eth0")
		s, _ := f.hub.Status("n1")
		expect(t, "problems", strings.Join(problems(s), "\n"), "")
	})
}

func TestBadEndpointsAreProblems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a := f.join(hello("n1", 1))
		a.hear()
		a.endpoints(true, nil, "n2/c1/eth0")
		synctest.Wait()
		s, _ := f.hub.Status("n1")
		expect(t, "another node's", strings.Join(problems(s), "\n"), `endpoints: endpoint "n2/c1/eth0": want the key n1/<container id>/<ifname> in at most 512 bytes`)
		a.endpoints(true, nil)
		synctest.Wait()
		s, _ = f.hub.Status("n1")
		expect(t, "mended", strings.Join(problems(s), "\n"), "")
	})
}

func TestManyWritesAreBatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a := f.join(hello("n1", 1))
		a.hear()
		time.Sleep(3 * time.Second)
		var sizes []int
		f.store.Inject(storetest.Fault{Before: func(txn store.Txn) error {
			sizes = append(sizes, len(txn.Then))
			return txn.Check()
		}})
		var keys []string
		for i := range 300 {
			keys = append(keys, fmt.Sprintf("n1/c%d/eth0", i))
		}
		a.endpoints(true, nil, keys...)
		time.Sleep(2 * time.Second)
		a.endpoints(true, nil, keys[:10]...)
		time.Sleep(2 * time.Second)
		f.heal()
		if diff := cmp.Diff([]int{120, 120, 60, 120, 120, 50}, sizes); diff != "" {
			t.Error(diff)
		}
		if got := strings.Fields(f.storedEndpoints()); len(got) != 10 {
			t.Errorf("%d stored", len(got))
		}
	})
}

// TestSubjectsAreNamed: of a peer it is told as it is named everywhere else.
func TestSubjectsAreNamed(t *testing.T) {
	n := newNode("n1")
	n.reported(&weftv1.ProblemReport{Problems: []*weftv1.Problem{{Subject: "Node//n4"}, {Subject: "eth0"}, {Subject: "a//b"}}})
	var got []string
	for _, p := range n.snapshot().Problems {
		got = append(got, p.Subject)
	}
	if want := "Node/n4 eth0 a//b"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestOneNodeCannotFillTheServer(t *testing.T) {
	n := newNode("n1")
	var ps []*weftv1.Problem
	for i := range 2 * maxProblems {
		ps = append(ps, &weftv1.Problem{Subject: strings.Repeat("s", 10000), Cause: strings.Repeat("ä", 10000), Remedy: fmt.Sprint(i)})
	}
	n.reported(&weftv1.ProblemReport{Problems: ps})
	for i := range 2 * maxObjectErrors {
		n.objectError(&weftv1.ObjectError{Key: fmt.Sprint(i), Error: strings.Repeat("e", 5000)})
	}
	s := n.snapshot()
	if len(s.Problems) != maxProblems || len(s.ObjectErrors) != maxObjectErrors {
		t.Errorf("%d problems, %d errors", len(s.Problems), len(s.ObjectErrors))
	}
	if p := s.Problems[0]; len(p.Cause) > maxSentence || len(p.Subject) > maxSubject || !strings.HasSuffix(p.Cause, "…") {
		t.Errorf("%d and %d bytes", len(p.Cause), len(p.Subject))
	}
	keys := map[string][]byte{}
	for i := range maxEndpoints + 5 {
		keys[fmt.Sprint(i)] = []byte("x")
	}
	changed, err := n.change(true, keys, nil)
	if len(changed) != maxEndpoints || err == nil {
		t.Errorf("%d endpoints, %v", len(changed), err)
	}
}

func TestHistory(t *testing.T) {
	h := history{limit: 4, floor: 10}
	for rev := int64(11); rev <= 30; rev++ {
		h.add(change{rev: rev, ref: ref{"peers", fmt.Sprint(rev)}})
		if len(h.log) > 8 {
			t.Fatalf("%d changes kept", len(h.log))
		}
	}
	if _, ok := h.after(h.floor - 1); ok {
		t.Error("knows what it forgot")
	}
	if _, ok := h.from(h.first - 1); ok {
		t.Error("knows what it forgot, by place")
	}
	if _, ok := h.from(h.end() + 1); ok {
		t.Error("knows what is to come")
	}
	for rev, want := range map[int64]string{28: "29 30 ", 29: "30 ", 30: "", 31: ""} {
		place, ok := h.after(rev)
		changes, known := h.from(place)
		got := ""
		for _, c := range changes {
			got += c.ref.key + " "
		}
		if !ok || !known || got != want {
			t.Errorf("after %d: %q, %v %v; want %q", rev, got, ok, known, want)
		}
	}
}

func FuzzReadReport(f *testing.F) {
	f.Add("192.0.2.1/24", "02:57:00:00:00:01", "2001:db8::1", uint32(1500), "eth0")
	f.Fuzz(func(t *testing.T, addr, mac, ext string, mtu uint32, dev string) {
		spec, err := readReport(&weftv1.NodeReport{
			Addresses: []*weftv1.NodeAddress{{Address: addr, Device: dev, Mtu: mtu}}, VtepMac: mac, ExternalAddresses: []string{ext},
		})
		if err != nil {
			return
		}
		b, err := kind.Encode(kind.Report, kind.Metadata{Name: "n1"}, spec)
		var back kind.ReportSpec
		if _, derr := kind.Decode(b, &back); err != nil || derr != nil {
			t.Errorf("%+v: %v, %v", spec, err, derr)
		}
	})
}

func FuzzReadEndpoint(f *testing.F) {
	f.Add("n1/c1/eth0", "ns", "pod", "10.0.0.1", "k", "v")
	f.Fuzz(func(t *testing.T, key, ns, pod, addr, k, v string) {
		b, err := readEndpoint("n1", &weftv1.EndpointRecord{Key: key, Namespace: ns, Pod: pod, Addresses: []string{addr}, Labels: map[string]string{k: v}})
		if err != nil {
			return
		}
		o, err := kind.DecodeObservation[kind.EndpointObservation](store.Entry{Value: b})
		if err != nil || kind.EndpointNode(key) != "n1" || len(o.Addresses) != 1 {
			t.Errorf("%q: %v", b, err)
		}
	})
}
