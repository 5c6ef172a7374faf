package agent

import (
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/datapath"
)

// TestGoverns: whose chains take the guard away, and of which families.
func TestGoverns(t *testing.T) {
	for _, c := range []struct {
		chain    string // family, type, hook
		ip4, ip6 bool
	}{
		{"ip filter forward", true, false},
		{"ip6 filter forward", false, true},
		{"inet filter forward", true, true},
		{"ip nat postrouting", true, false},
		{"inet nat postrouting", true, true},
		{"inet filter postrouting", false, false},
	} {
		w := strings.Fields(c.chain)
		chain := datapath.HostChain{Family: w[0], Table: "t", Name: "c", Type: w[1], Hook: w[2]}
		if ip4, ip6 := governs(chain, true), governs(chain, false); ip4 != c.ip4 || ip6 != c.ip6 {
			t.Errorf("%s governs IPv4 %v, IPv6 %v; want %v, %v", c.chain, ip4, ip6, c.ip4, c.ip6)
		}
	}
}
