package identity

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// handshaker does the TLS handshake before it hands a connection on.
type handshaker struct {
	net.Listener
	config *tls.Config
}

func (h handshaker) Accept() (net.Conn, error) {
	for {
		conn, err := h.Listener.Accept()
		if err != nil {
			return nil, err
		}
		secure := tls.Server(conn, h.config)
		if secure.Handshake() == nil {
			return secure, nil
		}
		_ = conn.Close()
	}
}

func TestAcceptedConnections(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	n1 := f.mustJoin(newMachine(t, "n1"), f.agentToken())
	s := grpc.NewServer(grpc.Creds(Accepted()), grpc.StreamInterceptor(f.Stream))
	weftv1.RegisterNodeSyncServer(s, echo{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(handshaker{l, f.TLS("h2")}) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(f.as(n1))))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := weftv1.NewNodeSyncClient(conn).Sync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || r.GetBackoff().GetReason() != "n1" {
		t.Errorf("known as %v, %v", r, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	s.Stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAcceptedRefuses(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	for want, conn := range map[string]net.Conn{"without TLS": here, "before its TLS handshake": tls.Server(here, &tls.Config{})} {
		if _, _, err := Accepted().ServerHandshake(conn); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
