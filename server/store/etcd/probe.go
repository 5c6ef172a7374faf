package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/note"
)

// probeTimeout is for one endpoint.
const probeTimeout = 2 * time.Second

// probe connects to every endpoint before etcd's client does, which knows why it
// cannot but answers only that a deadline is exceeded. It fails if none is good.
func (c Config) probe(ctx context.Context, config *tls.Config) error {
	errs := make([]error, len(c.Endpoints))
	var wg sync.WaitGroup
	for i, e := range c.Endpoints {
		wg.Go(func() {
			if err := probeOne(ctx, e, config); err != nil {
				errs[i] = fmt.Errorf("etcd: %s: %w%s", e, err, hint(err))
			}
		})
	}
	wg.Wait()
	if slices.Contains(errs, nil) {
		for _, err := range errs {
			if err != nil {
				c.Log.Warn("endpoint not usable", note.Err, err)
			}
		}
		return nil
	}
	return errors.Join(errs...)
}

func probeOne(ctx context.Context, endpoint string, config *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	scheme, address, _ := strings.Cut(endpoint, "://")
	network := "tcp"
	if strings.HasPrefix(scheme, "unix") {
		network = "unix"
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if config == nil {
		return nil
	}
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	config.ServerName, _, _ = net.SplitHostPort(address)
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	// With TLS 1.3 a server that refuses our certificate says so only now; one
	// that takes it begins with its HTTP/2 settings.
	deadline, _ := ctx.Deadline()
	_ = secure.SetReadDeadline(deadline)
	_, err = secure.Read(make([]byte, 1))
	return err
}

// hint says what to look at for the errors of a first connection.
func hint(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "signed by unknown authority"):
		return "; give the CA that signed etcd's certificate (--etcd-cafile)"
	case strings.Contains(text, "certificate required"), strings.Contains(text, "bad certificate"), strings.Contains(text, "unknown certificate authority"):
		return "; this etcd wants a client certificate that it knows (--etcd-certfile, --etcd-keyfile)"
	case strings.Contains(text, "authentication failed"):
		return "; etcd does not take this user with this password (--etcd-user, --etcd-password-file)"
	case strings.Contains(text, "authentication is not enabled"):
		return "; this etcd has no users: leave --etcd-user away"
	}
	return ""
}
