package host

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/weft-net/weft/agent/datapath"
)

// DefaultMarkMask are the bits of a packet's mark that are weft's.
const DefaultMarkMask = "0x00000f00"

// taken are the bits of a packet's mark that others of the field use.
var taken = []struct {
	who  string
	mask uint32
}{
	{"kube-proxy", 0xc000},
	{"Tailscale", 0xff0000},
}

// ParseMarkMask reads --mark-mask. It refuses bits that kube-proxy or Tailscale
// write, and fewer than four.
func ParseMarkMask(s string) (uint32, error) {
	v, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no mask of 32 bits; write one such as %s", s, DefaultMarkMask)
	}
	mask := uint32(v)
	for _, t := range taken {
		if mask&t.mask != 0 {
			return 0, fmt.Errorf("%s has bits of %s's %#x; write one such as %s", s, t.who, t.mask, DefaultMarkMask)
		}
	}
	if bits.OnesCount32(mask) < 4 {
		return 0, errors.New(s + " has fewer than four bits; write one such as " + DefaultMarkMask)
	}
	return mask, nil
}

// marks tells of rules of others that write bits of ours.
func marks(n Node, f Facts) []Finding {
	for _, t := range f.Filters {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				if r.Mark&n.MarkMask != 0 {
					return []Finding{markFinding(n, t, c, r)}
				}
			}
		}
	}
	return nil
}

func markFinding(n Node, t datapath.Filter, c datapath.FilterChain, r datapath.FilterRule) Finding {
	return Finding{
		Severity: Note, Subject: "marks",
		Cause: fmt.Sprintf("table %s %s, chain %s, rule handle %d writes bits %#x of packets' marks, of which %#x are weft's",
			t.Family, t.Table, c.Name, r.Handle, r.Mark, r.Mark&n.MarkMask),
		Remedy: "write that rule's mark under a mask, or give weft-agent another --mark-mask",
	}
}
