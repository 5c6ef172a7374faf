package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/weft-net/weft/proto/join"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// Greet connects to a server, proves it and lets go: nothing is asked and nothing
// is kept. Without a token it is only heard whether something answers TLS. The
// server is HOST:PORT.
func (w Way) Greet(ctx context.Context, server string, token *join.Token) (trusted string, err error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true} // nothing is said to it
	if token != nil {
		cfg, trusted = join.PinnedTLS(*token, time.Now), "the token's pin of the CA"
	}
	return trusted, w.greet(ctx, server, cfg)
}

// TryToken asks a server whether a node that has not joined yet could join with a
// token: nothing is spent. The error says why not; errors.ErrUnsupported is a server
// of a release that cannot say.
func (w Way) TryToken(ctx context.Context, server string, token join.Token, node string, labels map[string]string) error {
	if token.ForServer() {
		return errServerToken
	}
	cc, err := grpc.NewClient("passthrough:///"+server, grpc.WithTransportCredentials(credentials.NewTLS(join.PinnedTLS(token, time.Now))),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return w.connect(ctx, server, w.through(server))
		}))
	if err != nil {
		return fmt.Errorf("uplink: connect to server %s: %w", server, err)
	}
	defer cc.Close()
	_, err = weftv1.NewJoinClient(cc).Check(ctx, &weftv1.JoinCheckRequest{Token: token.Reveal(), Node: node, Labels: labels})
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.Unimplemented:
		return fmt.Errorf("uplink: server %s: %w", server, errors.ErrUnsupported)
	}
	return refusal("join", err, "")
}

// Joined tells whether a node's data folder holds a certificate: then it needs no
// token.
func Joined(dataDir string) bool {
	_, err := os.Stat(filepath.Join(dataDir, certName))
	return err == nil
}

// Greet is Way's, with what the node knows its servers by.
func (u *Uplink) Greet(ctx context.Context, server string) (trusted string, err error) {
	if id := u.identity(); id.cert != nil {
		return "the node's own CA", u.way().greet(ctx, server, id.tls(u.now, false))
	}
	token, err := u.token()
	if err != nil {
		return u.way().Greet(ctx, server, nil)
	}
	return u.way().Greet(ctx, server, &token)
}

func (w Way) greet(ctx context.Context, server string, cfg *tls.Config) error {
	conn, err := w.connect(ctx, server, w.through(server))
	if err != nil {
		return err
	}
	cfg.NextProtos = []string{"h2"}
	c, err := secure(ctx, conn, cfg, handshakeSoon)
	if err != nil {
		return err
	}
	return c.Close()
}
