package server

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-net/weft/server/members"
)

// TestHostsOf: an address that a server is reached at and has is one address.
func TestHostsOf(t *testing.T) {
	all := []members.Status{
		{Server: members.Server{Name: "s1", Address: "10.0.0.1:7443"}},
		{Server: members.Server{Name: "s2", Address: "[fd00::2]:7443"}},
		{Server: members.Server{Name: "s3", Address: "s3.example:7443"}},
	}
	got := hostsOf(all, "s1", []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")})
	if text := fmt.Sprint(got); text != "map[s1:[10.0.0.1 fd00::1] s2:[fd00::2]]" {
		t.Error(text)
	}
}
