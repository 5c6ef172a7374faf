package push

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

// second is another server over the same store.
func (f *fabric) second() *fabric {
	g := &fabric{t: f.t, store: f.store, lease: f.lease, ctx: f.ctx, runs: 100, all: f.all, change: func(c *Config) { c.Server = "s2" }}
	g.start()
	return g
}

// seen is what any server says of a node.
func (f *fabric) seen(node string) kind.NodeObservation {
	f.t.Helper()
	o := f.observed(node)
	entries, _, err := f.store.List(f.t.Context(), kind.ObservedServers)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range entries {
		s, err := kind.DecodeObservation[kind.ServerObservation](e)
		if err != nil {
			f.t.Fatal(err)
		}
		o = s.Of(node, o)
	}
	return o
}

// TestAStreamMovesToAnotherServer: whatever the order in which two servers come to
// write, the newest stream's word stands, and status does not flap.
func TestAStreamMovesToAnotherServer(t *testing.T) {
	number := func(n uint64) func(f *fabric) *agent {
		return func(f *fabric) *agent {
			h := hello("n1", 1)
			h.Instance, h.Stream = "i1", n
			a := f.join(h)
			a.hear()
			return a
		}
	}
	for _, c := range []struct {
		name string
		do   func(t *testing.T, s1, s2 *fabric)
		run  string // whose word stands
	}{
		{"one after the other", func(_ *testing.T, s1, s2 *fabric) {
			a := number(1)(s1)
			time.Sleep(2 * time.Second)
			a.gone()
			number(2)(s2)
		}, "r101"},
		{"the old one ends late", func(_ *testing.T, s1, s2 *fabric) {
			a := number(1)(s1)
			time.Sleep(2 * time.Second)
			number(2)(s2)
			time.Sleep(2 * time.Second)
			a.gone()
		}, "r101"},
		{"the old server's store comes back late", func(t *testing.T, s1, s2 *fabric) {
			s1.store.Inject(storetest.Fault{Before: func(txn store.Txn) error {
				for _, w := range txn.Then {
					if w.Key == kind.ObservedNode("n1") && string(w.Value) != "" && !containsRun(w.Value, "r101") {
						return fmt.Errorf("away")
					}
				}
				return nil
			}})
			old := number(1)(s1)
			time.Sleep(2 * time.Second)
			number(2)(s2)
			time.Sleep(2 * time.Second)
			s1.heal()
			time.Sleep(2 * time.Second)
			expect(t, "the old one is let go", old.ended(), "Aborted: a newer stream of node n1 came to another server")
		}, "r101"},
		{"back to the first", func(_ *testing.T, s1, s2 *fabric) {
			number(1)(s1)
			time.Sleep(2 * time.Second)
			b := number(2)(s2)
			time.Sleep(2 * time.Second)
			number(3)(s1)
			time.Sleep(2 * time.Second)
			b.gone()
		}, "r1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s1 := newFabric(t, nil)
				s2 := s1.second()
				c.do(t, s1, s2)
				time.Sleep(3 * time.Second)
				if o := s1.seen("n1"); o.Gone || o.Run != c.run {
					t.Errorf("seen: %+v, want alive by %s", o, c.run)
				}
			})
		})
	}
}

func containsRun(value []byte, run string) bool {
	o, err := kind.DecodeObservation[kind.NodeObservation](store.Entry{Value: value})
	return err == nil && o.Run == run
}

// TestAMoveIsNoProblem: a stream that moves is no sign of two agents with one key.
func TestAMoveIsNoProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s1 := newFabric(t, nil)
		s2 := s1.second()
		for i := range 6 {
			h := hello("n1", 1)
			h.Instance, h.Stream = "i1", uint64(i+1)
			on := []*fabric{s1, s2}[i%2]
			a := on.join(h)
			a.hear()
			time.Sleep(2 * time.Second)
			if s, _ := on.hub.Status("n1"); len(s.Problems) > 0 || !s.Connected {
				t.Errorf("turn %d: %+v", i, s)
			}
			a.gone()
		}
	})
}

// TestTheBeacon: acknowledgements of all nodes cost one write, idle ones one a
// minute, and a server that stops says so once.
func TestTheBeacon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 40
		f := newFabric(t, nil)
		var agents []*agent
		for i := range many {
			agents = append(agents, f.join(hello(fmt.Sprint("n", i), i+1)))
		}
		all := func(but int) {
			for i, a := range agents {
				a.hear()
				if i != but {
					a.ack(a.last.GetRevision())
				}
			}
			time.Sleep(1500 * time.Millisecond)
		}
		for range 3 {
			all(-1)
		}
		before := f.store.Revision()
		rev := f.peer("x", 99) // two writes
		all(7)
		if n := f.store.Revision() - before; n > 4 { // the first at once, the others a second later
			t.Errorf("%d acknowledgements took %d writes", many-1, n-2)
		}
		if o := f.seen("n3"); o.AppliedRevision != rev || o.Revision != rev {
			t.Errorf("in step: %+v, want %d", o, rev)
		}
		if o := f.seen("n7"); o.AppliedRevision >= rev || o.Revision != rev {
			t.Errorf("behind: %+v, want less than %d", o, rev)
		}
		before = f.store.Revision()
		for range 60 {
			for _, a := range agents {
				a.say(beatUp())
				a.hear()
			}
			time.Sleep(time.Second)
		}
		if n := f.store.Revision() - before; n > 1 {
			t.Errorf("a minute of %d idle agents took %d writes", many, n)
		}
		before = f.store.Revision()
		f.stop()
		if n := f.store.Revision() - before; n != 1 {
			t.Errorf("a server that stopped wrote %d times", n)
		}
		if o := f.seen("n3"); !o.Gone || o.AppliedRevision != rev {
			t.Errorf("the server has stopped: %+v", o)
		}
	})
}

// TestAKilledServerIsBuried: the next start says of the last one's streams that
// they are gone, and does not speak for them.
func TestAKilledServerIsBuried(t *testing.T) {
	key := func(run string) string { return kind.ObservedServer("server", run) }
	say := func(run string, heard int64, gone bool) []byte {
		return fmt.Appendf(nil, `{"run":%q,"heardUnix":%d,"epoch":"e1","revision":9,"appliedRevision":9,"gone":%v}`, run, heard, gone)
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		f.stop()
		f.write(kind.ObservedNode("n9"), []byte(`{"heardUnix":5,"epoch":"e1","run":"k4"}`))
		for i := range 5 {
			f.write(key(fmt.Sprint("k", i)), say(fmt.Sprint("k", i), int64(10+i), false))
		}
		f.write(kind.ObservedServer("server2", "other"), say("other", 1, false))
		f.start()
		synctest.Wait()
		if o := f.seen("n9"); !o.Gone || o.HeardUnix != 14 || o.AppliedRevision != 9 {
			t.Errorf("a node of the killed run: %+v", o)
		}
		entries, _, err := f.store.List(t.Context(), kind.ObservedServers)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range entries {
			o, _ := kind.DecodeObservation[kind.ServerObservation](e)
			got += fmt.Sprintf("%s:%v ", o.Run, o.Gone)
		}
		expect(t, "runs", got, "k3:true k4:true r1:true r2:false other:false ")
	})
}

// A node that is deleted leaves no report behind, whatever its stream said last.
func TestNoReportAfterTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		defer f.stop()
		f.put(kind.Node, "n1", kind.NodeSpec{})
		synctest.Wait()
		n1 := f.join(hello("n1", 1))
		n1.hear()
		n := f.hub.nodeOf("n1")
		report, object := kind.Key(kind.Report, "", "n1"), kind.Key(kind.Node, "", "n1")
		if _, err := f.store.Commit(f.ctx, store.Txn{Then: []store.Write{{Key: report}, {Key: object}}}); err != nil {
			t.Fatal(err)
		}
		spec, err := readReport(hello("n1", 9).GetReport())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // before this server heard of the deletion, and after
			if wrote, _ := f.hub.storeReport(f.ctx, n, spec); wrote {
				t.Error("a report was written")
			}
			synctest.Wait()
		}
		if _, err := f.store.Get(f.ctx, report); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a report is there: %v", err)
		}
	})
}

// More records than a transaction takes are written, with the fence that each
// transaction carries beside them.
func TestManyRecordsAreWrittenFenced(t *testing.T) {
	const many = 2*store.MaxOps + 1
	memory := storetest.New()
	revision, err := memory.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: store.Fence, Value: []byte("e1")}}})
	if err != nil {
		t.Fatal(err)
	}
	h := New(Config{Store: store.Fenced(memory, revision)})
	var records []record
	for i := range many {
		records = append(records, record{node: newNode(fmt.Sprint("n", i))})
	}
	if err := h.commitRecords(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	written, _, err := memory.List(t.Context(), kind.ObservedNodes)
	if err != nil || len(written) != many {
		t.Errorf("%d of %d records were written: %v", len(written), many, err)
	}
}
