package paths

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
)

// TestNamesThatLeadNowhere: a name of --node-external-ip that is of no use is told with
// why, as long as it is so; what it led to before stands meanwhile.
func TestNamesThatLeadNowhere(t *testing.T) {
	var found []netip.Addr
	var failed error
	n := newNames([]string{"203.0.113.7", "n7.example.org"}, func(context.Context, string) ([]netip.Addr, error) { return found, failed }, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		what     string
		found    string // by the nameserver
		failed   error
		addrs    int
		problems []string
	}{
		{"OK", "203.0.113.8", nil, 2, nil},
		{"no such name", "", errors.New("no such host"), 2, []string{"n7.example.org: no such host"}},
		{"no address", "", nil, 2, []string{"n7.example.org: it has no address"}},
		{"OK again", "203.0.113.9", nil, 2, nil},
		{"loopback", "127.0.1.1", nil, 2, []string{"n7.example.org is 127.0.1.1: loopback (RFC 1122, section 3.2.1.3)"}},
		{"metadata", "169.254.169.254", nil, 2, []string{"n7.example.org is 169.254.169.254: the instance metadata of most clouds"}},
	} {
		found, failed = nil, c.failed
		if c.found != "" {
			found = []netip.Addr{netip.MustParseAddr(c.found)}
		}
		n.look(t.Context(), "n7.example.org")
		if got := n.problems(); !slices.Equal(got, c.problems) || len(n.addrs()) != c.addrs {
			t.Errorf("%s: %q, %v", c.what, got, n.addrs())
		}
	}
}
