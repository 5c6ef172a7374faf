package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/weft-net/weft/proto/line"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/push"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestLines: who knows lines gets one, if the port has them; on it a node is
// judged as on a call, and why it was refused arrives.
func TestLines(t *testing.T) {
	auth, err := identity.Open(t.Context(), storetest.New(), identity.Config{DataDir: t.TempDir(), Server: "https://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(auth.CertificatePEM())
	for _, tt := range []struct {
		name    string
		offered bool
		knows   []string
		want    string
	}{
		{"both", true, []string{line.Protocol, "h2"}, line.Protocol},
		{"the client's order does not matter", true, []string{"h2", line.Protocol}, line.Protocol},
		{"an agent of the last release", true, []string{"h2"}, "h2"},
		{"a server that has none", false, []string{line.Protocol, "h2"}, "h2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tcp, err := listen(t.Context(), "--listen", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			p := newPort(tcp, auth.TLS(), slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(context.Background())
			var running sync.WaitGroup
			if tt.offered {
				p.offerLines()
				l := &lane{hub: push.New(push.Config{}), hold: auth.Hold}
				running.Go(func() { _ = l.run(ctx, p.lines) })
			}
			running.Go(func() { _ = p.run(ctx) })
			defer running.Wait()
			defer cancel()
			conn, err := tls.Dial("tcp", tcp.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: tt.knows})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got := conn.ConnectionState().NegotiatedProtocol; got != tt.want {
				t.Fatalf("%q is spoken, want %q", got, tt.want)
			}
			if tt.want == "h2" {
				return
			}
			err = line.New(conn).Receive(&weftv1.SyncResponse{}, 100)
			if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "needs a client certificate") {
				t.Error(err)
			}
		})
	}
}
