package push

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
)

// speaks is an agent's process that comes back whenever it is cut.
type speaks struct {
	name, addr string
	streams    uint64
}

func (p *speaks) hello() *weftv1.Hello {
	p.streams++
	h := hello("n1", 1)
	h.Instance, h.Stream = p.name, p.streams
	h.Report = report(p.addr + "/24")
	return h
}

func (p *speaks) joins(f *fabric) *agent {
	return f.joinFrom(fmt.Sprintf("%s:%d", p.addr, 4000+p.streams), p.hello())
}

// reported is the address in the node's stored report.
func (f *fabric) reported(node string) netip.Addr {
	f.t.Helper()
	e, err := f.store.Get(f.t.Context(), kind.Key(kind.Report, "", node))
	if err != nil {
		f.t.Fatal(err)
	}
	var spec kind.ReportSpec
	if _, err := kind.Decode(e.Value, &spec); err != nil {
		f.t.Fatal(err)
	}
	return spec.Addresses[0].Address.Addr()
}

// TestWhatIsLiveIsSaidAgain: whoever wrote last that a node is gone, the server that
// hears it says otherwise at once, and what the node reports with it.
func TestWhatIsLiveIsSaidAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s1 := newFabric(t, nil)
		s2 := s1.second()
		one := &speaks{name: "one", addr: "192.0.2.1"}
		a := one.joins(s2)
		a.hear()
		time.Sleep(2 * time.Second)
		s1.put(kind.Report, "n1", kind.ReportSpec{Addresses: []kind.ReportAddress{{Address: netip.MustParsePrefix("192.0.2.66/24"), MTU: 1500}}})
		s1.write(kind.ObservedNode("n1"), []byte(`{"run":"r9","instance":"other","gone":true}`))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if o := s1.seen("n1"); o.Gone || o.Instance != "one" {
			t.Errorf("seen: %+v", o)
		}
		expect(t, "report", s1.reported("n1").String(), "192.0.2.1")
		expect(t, "stream", a.ended(), "")
	})
}

// TestARestartElsewhereIsOne: a node that lost power and comes to another server
// before the first has noticed is let in, and is no problem.
func TestARestartElsewhereIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s1 := newFabric(t, nil)
		s2 := s1.second()
		for i := range 4 {
			p := &speaks{name: fmt.Sprint("i", i), addr: "192.0.2.1"}
			on := []*fabric{s1, s2}[i%2]
			if got := p.joins(on).hear(); !strings.HasSuffix(got, "complete") {
				t.Errorf("start %d: %s", i, got)
			}
			time.Sleep(3 * time.Second)
			if o := s1.seen("n1"); o.Gone || o.Instance != p.name || len(o.Problems) > 0 {
				t.Errorf("start %d: seen %+v", i, o)
			}
		}
	})
}
