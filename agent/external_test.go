package agent

import (
	"net/netip"
	"slices"
	"testing"
)

// TestExternal: addresses and names of --node-external-ip both reach who proves paths.
func TestExternal(t *testing.T) {
	c := Config{ExternalIPs: []netip.Addr{netip.MustParseAddr("203.0.113.7")}, ExternalNames: []string{"n7.example.org"}}
	if got, want := c.external(), []string{"203.0.113.7", "n7.example.org"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
