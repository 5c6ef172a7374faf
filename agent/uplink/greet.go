package uplink

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/weft-net/weft/proto/join"
)

// Greet connects to a server, proves it and lets go: nothing is asked and nothing
// is kept. Without a token it is only heard whether something answers TLS. The
// server is HOST:PORT.
func Greet(ctx context.Context, server string, token *join.Token) (trusted string, err error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true} // nothing is said to it
	if token != nil {
		cfg, trusted = join.PinnedTLS(*token, time.Now), "the token's pin of the CA"
	}
	return trusted, greet(ctx, server, cfg)
}

// Greet is the package's, with what the node knows its servers by.
func (u *Uplink) Greet(ctx context.Context, server string) (trusted string, err error) {
	if id := u.identity(); id.cert != nil {
		return "the node's own CA", greet(ctx, server, id.tls(u.now, false))
	}
	token, err := u.token()
	if err != nil {
		return Greet(ctx, server, nil)
	}
	return Greet(ctx, server, &token)
}

func greet(ctx context.Context, server string, cfg *tls.Config) error {
	conn, err := dialTCP(ctx, server)
	if err != nil {
		return fmt.Errorf("uplink: connect to server %s: %w", server, err)
	}
	cfg.NextProtos = []string{"h2"}
	c, err := secure(ctx, conn, cfg, handshakeSoon)
	if err != nil {
		return err
	}
	return c.Close()
}
