package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/server/kind"
)

// leases are all stored ones, "n1: 10.42.0.0/24 (10.42.0.0/24 drains)".
func (c *cluster) leases() string {
	c.t.Helper()
	entries, _, err := c.store.List(c.t.Context(), kind.Key(kind.Lease, "", ""))
	if err != nil {
		c.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		var spec kind.LeaseSpec
		if _, err := kind.Decode(e.Value, &spec); err != nil {
			c.t.Fatal(err)
		}
		text := spec.Node + ": " + strings.Trim(fmt.Sprint(spec.Prefixes), "[]")
		if len(spec.Draining) > 0 {
			text += " (" + strings.Trim(fmt.Sprint(spec.Draining), "[]") + " drains)"
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (c *cluster) report(node string, addrs ...string) {
	spec := kind.ReportSpec{}
	for _, a := range addrs {
		spec.Addresses = append(spec.Addresses, kind.ReportAddress{Address: netip.MustParsePrefix(a), Device: "eth0", MTU: 1500})
	}
	c.object(kind.Report, node, spec)
}

func TestComplete(t *testing.T) {
	c := newCluster(t, "10.42.0.0/16")
	for i := range 150 {
		node := fmt.Sprintf("n%03d", i)
		c.acquire(node, "")
		if i != 7 { // a reservation
			c.report(node, "192.0.2.1/24")
		}
	}
	c.report("n009", "fd42:42::9/64") // its own address lies in the new range
	c.configure("10.42.0.0/16 fd42:42::/48")
	given, failed, batches := 0, "", 0
	for after := ""; ; batches++ {
		done, next, err := c.alloc.Complete(t.Context(), after)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range done {
			if g.Err != nil {
				failed += g.Node + ": " + g.Err.Error()
			} else {
				given++
			}
		}
		if after = next; next == "" {
			break
		}
	}
	if given != 148 || batches != 2 || !strings.Contains(failed, "n009: lease: node n009: its address fd42:42::9 lies in fd42:42::/48") {
		t.Errorf("%d given in %d batches more; %s", given, batches, failed)
	}
	if !strings.Contains(c.leases(), "n007: 10.42.7.0/24, n008: 10.42.8.0/24 fd42:42:0:7::/64, n009: 10.42.9.0/24, ") {
		t.Error(c.leases())
	}
}

func TestGrow(t *testing.T) {
	c := newCluster(t, "10.42.0.0/21 fd42:42::/48")
	c.acquire("n1", "")
	c.acquire("n2", "")
	for _, want := range []string{"10.42.2.0/24", "10.42.3.0/24", "10.42.4.0/24"} {
		if p, err := c.alloc.Grow(t.Context(), "n1", true); err != nil || p.String() != want {
			t.Errorf("%v %v, want %s", p, err, want)
		}
	}
	if _, err := c.alloc.Grow(t.Context(), "n1", true); !errors.Is(err, ErrEnough) {
		t.Error(err)
	}
	if err := c.alloc.Drain(t.Context(), "n1", netip.MustParsePrefix("10.42.0.0/24")); err != nil {
		t.Error(err)
	}
	if p, err := c.alloc.Grow(t.Context(), "n1", true); err != nil || p.String() != "10.42.5.0/24" { // what drains does not count
		t.Error(p, err)
	}
	for range 2 {
		if _, err := c.alloc.Grow(t.Context(), "n2", true); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.alloc.Grow(t.Context(), "n2", true); !errors.Is(err, ipam.ErrFull) {
		t.Error(err)
	}
	if p, err := c.alloc.Grow(t.Context(), "nobody", true); err != nil || p.IsValid() {
		t.Error(p, err)
	}
	c.expect(c.acquire("n1", ""), "10.42.0.0/24 10.42.2.0/24 10.42.3.0/24 10.42.4.0/24 10.42.5.0/24 fd42:42::/64")
	if want := "(10.42.0.0/24 drains)"; !strings.Contains(c.leases(), want) {
		t.Errorf("%s, want %s", c.leases(), want)
	}
}

func TestYield(t *testing.T) {
	p := netip.MustParsePrefix
	c := newCluster(t, "10.42.0.0/16")
	c.acquire("n1", "")
	yield := func(prefix string, known int64) string {
		t.Helper()
		if err := c.alloc.Yield(t.Context(), "n1", p(prefix), known); err != nil {
			t.Fatal(err)
		}
		return c.leases()
	}
	drain := func(prefix string) {
		t.Helper()
		if err := c.alloc.Drain(t.Context(), "n1", p(prefix)); err != nil {
			t.Fatal(err)
		}
	}
	drain("10.42.0.0/24")
	expectText(t, yield("10.42.0.0/24", c.store.Revision()), "n1: 10.42.0.0/24 (10.42.0.0/24 drains)") // its last
	if _, err := c.alloc.Grow(t.Context(), "n1", true); err != nil {
		t.Fatal(err)
	}
	seen := c.store.Revision()
	expectText(t, yield("10.42.0.0/24", seen-1), "n1: 10.42.0.0/24 10.42.1.0/24 (10.42.0.0/24 drains)") // a word from before
	expectText(t, yield("10.42.1.0/24", seen), "n1: 10.42.0.0/24 10.42.1.0/24 (10.42.0.0/24 drains)")   // it does not drain
	c.configure("10.42.0.0/15")
	expectText(t, yield("10.42.0.0/24", seen), "n1: 10.42.0.0/24 10.42.1.0/24 (10.42.0.0/24 drains)") // nor does it know the ranges
	expectText(t, yield("10.42.0.0/24", c.store.Revision()), "n1: 10.42.1.0/24")
	c.expect(c.acquire("n2", ""), "10.42.2.0/24") // it rests
	c.now = c.now.Add(ipam.RestPrefix)
	if got, err := c.alloc.Grow(t.Context(), "n2", true); err != nil || got != p("10.42.0.0/24") {
		t.Error(got, err)
	}
	c.now = c.now.Add(time.Hour)
	c.expect(c.acquire("n3", ""), "10.42.3.0/24") // what rested is n2's, and stays so
}

// What others carry of a node that is away is its own too, after a restore.
func TestClaimsExtendWhatIsKnown(t *testing.T) {
	c := newCluster(t, "10.42.0.0/16 fd42:42::/48")
	c.acquire("n1", "")
	c.acquire("n2", "")
	c.lost(2, 1, 50)
	claim := func(revision int64, node, text string) {
		t.Helper()
		if _, _, err := c.alloc.Adopt(t.Context(), []kind.Claim{{Node: node, Prefixes: prefixes(text), Epoch: "e1", Revision: revision}}); err != nil {
			t.Fatal(err)
		}
	}
	claim(60, "n1", "10.42.0.0/24 10.42.9.0/24 fd42:42::/64")
	claim(40, "n2", "10.42.0.0/24")              // who knows less than the backup
	claim(55, "n2", "10.42.1.0/24 10.42.9.0/24") // that is n1's by a younger word
	expectText(t, c.leases(), "n1: 10.42.0.0/24 10.42.9.0/24 fd42:42::/64, n2: 10.42.1.0/24 fd42:42:0:1::/64")
}

func expectText(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
