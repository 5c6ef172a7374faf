package push

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/protobuf/proto"
)

// modern is the hello of an agent of this release.
func modern(node string, i int) *weftv1.Hello {
	h := hello(node, i)
	h.Batches = true
	return h
}

// digest of what an agent holds.
func (a *agent) digest() (sum uint64) {
	for r, v := range a.held {
		sum += intent.Object{Collection: r.collection, Key: r.key, Value: []byte(v)}.Digest()
	}
	return sum
}

// TestOneJoinIsOneEncode: a node that joins many costs one encoding of its object
// and one message, the same bytes for all.
func TestOneJoinIsOneEncode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 50 // fewer than roundFree: no pause between rounds
		f := newFabric(t, nil)
		var agents []*agent
		for i := range many {
			agents = append(agents, f.join(modern(fmt.Sprint("n", i), i+1)))
			for _, a := range agents {
				a.hear()
			}
		}
		encodes, rounds := f.hub.encodes.Load(), f.hub.rounds.count
		f.peer("x", 99)
		for _, a := range agents {
			expect(t, "each", a.hear(), "[set Node//x complete]")
			if a.last.GetDigest() != a.digest() {
				t.Fatal("the digest is not that of what was told")
			}
		}
		if e, r := f.hub.encodes.Load()-encodes, f.hub.rounds.count-rounds; e != 1 || r != 1 {
			t.Errorf("%d objects and %d messages were encoded, for one node that joined %d", e, r, many)
		}
	})
}

// TestTheSameBytesForAll: also a full set is made once for all who need it.
func TestTheSameBytesForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		var seen []*weftv1.SyncResponse
		for i := range 3 {
			s := &stream{hub: f.hub, name: fmt.Sprint("n", i), knows: allCollections(), manner: manner{version: 1, batches: true}, dues: due{whole: true}}
			told := f.hub.next(s)
			seen = append(seen, told.messages[0])
		}
		if seen[0] != seen[1] || seen[1] != seen[2] {
			t.Error("a set was encoded more than once")
		}
	})
}

func TestPackets(t *testing.T) {
	var all []encoded
	for i := range 1000 {
		all = append(all, must(beat(int64(i))))
	}
	big := must(&weftv1.SyncResponse{Message: &weftv1.SyncResponse_Set{Set: &weftv1.Set{Value: make([]byte, 3*packetBytes)}}})
	all = append(all, big, must(beat(1000)), must(beat(1001)))
	for _, batches := range []bool{false, true} {
		var got []encoded
		packets := pack(all, batches)
		for _, p := range packets {
			b, err := proto.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			var m weftv1.SyncResponse
			if err := proto.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			if !batches {
				got = append(got, must(&m))
				continue
			}
			if len(b) > packetBytes+len(big)/3 && len(m.GetBatch().GetMessages()) > 1 {
				t.Errorf("a packet of %d bytes with %d messages", len(b), len(m.GetBatch().GetMessages()))
			}
			for _, m := range m.GetBatch().GetMessages() {
				got = append(got, must(m))
			}
		}
		if diff := cmp.Diff(all, got); diff != "" || batches != (len(packets) == 3) {
			t.Errorf("batches %v: %d packets; %s", batches, len(packets), diff)
		}
	}
}

// TestAfterARestart: what an agent holds already is not sent again, by a server
// that does not know what was deleted before it started.
func TestAfterARestart(t *testing.T) {
	for _, c := range []struct {
		name string
		away func(f *fabric)     // while no server is there
		with func(*weftv1.Hello) // what the agent says
		want string              // at once
		then string              // after the resync that the agent asks for
	}{
		{"nothing missed", func(*fabric) {}, nil, "[complete]", ""},
		{"a node joined", func(f *fabric) { f.peer("n5", 5) }, nil, "[set Node//n5 complete]", ""},
		{"a node changed", func(f *fabric) { f.peer("n3", 9) }, nil, "[set Node//n3 complete]", ""},
		{"a node was deleted", func(f *fabric) { f.write(kind.Key(kind.Lease, "", "n3"), nil) }, nil, "[complete]", "[begin set ClusterConfig//default set Node//n1 set Node//n2 set Node//n4 end complete]"},
		{"an old agent", func(*fabric) {}, func(h *weftv1.Hello) { h.Digest, h.Batches = 0, false }, whole("n1", "n2", "n3", "n4"), ""},
		{"most changed", func(f *fabric) {
			for i := range 9 {
				f.peer(fmt.Sprint("n", 3+i), 40+i)
			}
		}, nil, "[begin set ClusterConfig//default set Node//n1 set Node//n10 set Node//n11 set Node//n2 set Node//n3 set Node//n4 set Node//n5 set Node//n6 set Node//n7 set Node//n8 set Node//n9 end complete]", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFabric(t, nil)
				f.peer("n2", 2)
				f.peer("n3", 3)
				f.peer("n4", 4)
				n1 := f.join(modern("n1", 1))
				n1.hear()
				f.stop()
				c.away(f)
				f.start()
				h := n1.again(modern("n1", 1))
				h.Digest = n1.digest()
				if c.with != nil {
					c.with(h)
				}
				back := f.join(h)
				for k, v := range n1.held {
					back.stage[k] = v
				}
				expect(t, "at once", back.hear(), c.want)
				if d := back.last.GetDigest(); d != 0 && d != back.digest() {
					back.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Resync{Resync: &weftv1.Resync{}}})
					expect(t, "then", back.hear(), c.then)
				} else if c.then != "" {
					t.Error("the agent cannot tell that its set is another")
				}
				objects := map[ref]string{}
				for _, s := range f.hub.Intent("n1").GetObjects() {
					objects[ref{s.GetCollection(), s.GetKey()}] = string(s.GetValue())
				}
				if diff := cmp.Diff(objects, back.held); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestResyncIsBounded: an agent that asks again and again is cut.
func TestResyncIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, nil)
		a := f.join(modern("n1", 1))
		first := a.hear()
		again := &weftv1.SyncRequest{Message: &weftv1.SyncRequest_Resync{Resync: &weftv1.Resync{}}}
		a.say(again)
		expect(t, "once", a.hear(), first)
		a.say(again)
		if got := a.ended(); !strings.HasPrefix(got, "ResourceExhausted: the agent asks for full sets again and again") {
			t.Error(got)
		}
	})
}

// TestFullSetsTakeTurns: a stream that waits for its turn is sent heartbeats, and
// one whose agent reads slowly does not hold up the others for long.
func TestFullSetsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, func(c *Config) { c.Fulls, c.Heartbeat = 1, 300*time.Millisecond })
		slow := f.join(modern("n1", 1)) // reads nothing
		synctest.Wait()
		waits, gone := f.join(modern("n2", 2)), f.join(modern("n3", 3))
		time.Sleep(turnFor / 2)
		expect(t, "in line", waits.hear(), "heartbeat")
		gone.gone()
		last := f.join(modern("n4", 4))
		time.Sleep(turnFor)
		if got := waits.hear() + last.hear(); strings.Count(got, "end complete]") != 2 {
			t.Errorf("a turn later:\n%s", got)
		}
		if got := slow.hear(); !strings.Contains(got, "end complete]") {
			t.Errorf("the slow one:\n%s", got)
		}
		synctest.Wait()
		if f.hub.turns.free != 1 || len(f.hub.turns.line) > 0 {
			t.Errorf("%d turns free, %d in line", f.hub.turns.free, len(f.hub.turns.line))
		}
	})
}

// TestRoundsLeaveTime: changes that come fast to many streams go together, the
// first of them at once, and the last is not forgotten.
func TestRoundsLeaveTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = roundFree + 100
		f := newFabric(t, nil)
		f.hub.mu.Lock()
		for i := range many { // streams that are there and cost nothing
			f.hub.streams[fmt.Sprint("s", i)] = &stream{hub: f.hub, ctx: t.Context(), cut: func(error) {}, writing: true, node: newNode("s")}
		}
		f.hub.mu.Unlock()
		a := f.join(modern("n1", 1))
		a.hear()
		time.Sleep(time.Second)
		a.hear()
		f.peer("x", 1)
		expect(t, "the first", a.hear(), "[set Node//x complete]")
		for i := range 20 {
			f.peer("x", 2+i)
			if got := a.hear(); got != "" {
				t.Errorf("change %d did not wait: %s", i, got)
			}
		}
		time.Sleep(200 * roundStream)
		expect(t, "the others", a.hear(), "[set Node//x complete]")
		if a.digest() != a.last.GetDigest() {
			t.Error("the last change is not there")
		}
	})
}

func TestPace(t *testing.T) {
	for _, tt := range []struct {
		streams int
		told    uint64
		want    time.Duration
	}{
		{0, 1, 0},
		{100, 1000, 0},
		{1000, 0, 90 * time.Millisecond},
		{1000, 1, 90 * time.Millisecond},
		{1000, 31, 90 * time.Millisecond},
		{1000, 32, 180 * time.Millisecond},
		{5000, 64, 1960 * time.Millisecond},
		{5000, 10000, 1960 * time.Millisecond},
	} {
		if got := (&pace{told: tt.told}).pause(tt.streams); got != tt.want {
			t.Errorf("%d streams that were told of %d changes: %v, want %v", tt.streams, tt.told, got, tt.want)
		}
	}
}
