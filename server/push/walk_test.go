package push

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/compile"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"pgregory.net/rapid"
)

// TestWhateverHappensAgentsEndInStep: nodes come and go, objects change, agents
// come, leave, come back with what they hold and read a message now and then, and
// servers are restarted; in the end each holds what the store compiles to.
func TestWhateverHappensAgentsEndInStep(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		// rapid shrinks by panics, which must not leave the bubble: draw first.
		steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 40).Draw(r, "steps")
		failure := ""
		synctest.Test(t, func(t *testing.T) { failure = walk(t, steps) })
		if failure != "" {
			r.Fatal(failure)
		}
	})
}

type step struct {
	What  string
	Agent int
	Value int
}

func drawStep(t *rapid.T) step {
	return step{
		What:  rapid.SampledFrom([]string{"peer", "unpeer", "cluster", "come", "come", "leave", "read", "read", "wait", "restart"}).Draw(t, "what"),
		Agent: rapid.IntRange(0, 2).Draw(t, "agent"),
		Value: rapid.IntRange(0, 5).Draw(t, "value"),
	}
}

func walk(t *testing.T, steps []step) string {
	f := newFabric(t, func(c *Config) { c.History = 3 })
	defer f.stop()
	agents := make([]*agent, 3)
	held := make([]*agent, 3) // what is on each agent's disk
	come := func(i int) {
		h := hello(fmt.Sprint("a", i), i+1)
		h.Batches = i > 0 // the first is of an older release
		a := &agent{}
		if old := held[i]; old != nil && old.last != nil {
			h = old.again(h)
			a.held = old.held
			if h.Batches {
				h.Digest = old.digest()
			}
		}
		if agents[i] != nil {
			agents[i].gone()
		}
		agents[i] = f.join(h)
		for k, v := range a.held {
			agents[i].stage[k], agents[i].held[k] = v, v
		}
		if held[i] != nil {
			agents[i].last = held[i].last
		}
		held[i] = agents[i]
	}
	for _, s := range steps {
		a := agents[s.Agent]
		switch s.What {
		case "peer":
			f.peer(fmt.Sprint("p", s.Agent), s.Value)
		case "unpeer":
			f.write(kind.Key(kind.Lease, "", fmt.Sprint("p", s.Agent)), nil)
		case "cluster":
			f.put(kind.ClusterConfig, "default", kind.ClusterConfigSpec{MTU: 1400 + s.Value})
		case "come":
			come(s.Agent)
		case "leave":
			if a != nil {
				a.gone()
			}
		case "read":
			for range s.Value {
				synctest.Wait()
				if a == nil {
					break
				}
				select {
				case m := <-a.down:
					a.take(m)
				default:
				}
			}
		case "restart":
			f.stop()
			f.start()
		case "wait":
			synctest.Wait()
		}
	}
	for i := range agents {
		come(i)
	}
	for range agents { // what they report themselves reaches the others
		time.Sleep(markerWait)
		for _, a := range agents {
			a.hear()
			if d := a.last.GetDigest(); d != 0 && d != a.digest() { // as agents do
				a.say(&weftv1.SyncRequest{Message: &weftv1.SyncRequest_Resync{Resync: &weftv1.Resync{}}})
				a.hear()
			}
		}
	}
	entries, _, err := f.store.List(t.Context(), store.Intent)
	if err != nil {
		return err.Error()
	}
	objects, _ := compile.All(entries)
	want := map[ref]string{}
	for _, o := range objects {
		want[ref{o.Collection, o.Key}] = string(o.Value)
	}
	for i, a := range agents {
		if diff := cmp.Diff(want, a.held); diff != "" {
			return fmt.Sprintf("agent %d: %s", i, diff)
		}
		if a.last.GetRevision() != f.hub.Revision() {
			return fmt.Sprintf("agent %d is at %d of %d", i, a.last.GetRevision(), f.hub.Revision())
		}
	}
	return ""
}

func TestTooManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFabric(t, func(c *Config) { c.Hellos = 1 })
		f.hub.hellos <- struct{}{} // somebody is being let in, for long
		a := f.join(hello("n1", 1))
		time.Sleep(letInWait)
		expect(t, "sent away", a.hear(), "backoff 2 s: too many agents come at once")
		<-f.hub.hellos
		expect(t, "then let in", f.join(hello("n1", 1)).hear(), whole("n1"))
	})
}
