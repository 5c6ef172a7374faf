package server

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestAbsent(t *testing.T) {
	has := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}
	for ip, want := range map[string]string{"10.0.0.1": "[]", "fd00::1": "[]", "1.2.3.4": "[1.2.3.4]"} {
		if got := fmt.Sprint(Config{NodeIPs: []netip.Addr{netip.MustParseAddr(ip)}}.absent(has)); got != want {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
}
