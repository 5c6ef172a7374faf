package members

import (
	"net"
	"testing"
)

// TestGone: who listens is there, also if nobody answers; whose machine refuses is
// not.
func TestGone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if why := gone(t.Context(), l.Addr().String()); why != "" {
		t.Error("one that listens and accepts nobody:", why)
	}
	_ = l.Close()
	if why := gone(t.Context(), l.Addr().String()); why != "its machine refuses connections" {
		t.Errorf("one that is closed: %q", why)
	}
}

// TestAnswers: a server that answers anything is there.
func TestAnswers(t *testing.T) {
	all := among(t, "s1", "s2")
	conn, err := all[0].lines.to(all[1].address)
	if err != nil {
		t.Fatal(err)
	}
	if !answers(t.Context(), conn) { // Unimplemented
		t.Error("one that serves")
	}
	all[1].grpc.Stop()
	if answers(t.Context(), conn) {
		t.Error("one that stopped")
	}
}
