package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/server/store"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// Dial connects to an etcd elsewhere and returns when it has answered a read of
// weft's keys: a wrong address, CA, certificate, user or right is an error now.
func Dial(ctx context.Context, c Config) (*Store, error) {
	c = c.withDefaults()
	config, err := c.dialSettings(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.probe(ctx, config.TLS); err != nil {
		return nil, err
	}
	client, err := clientv3.New(config) // asks for a token, if there is a user
	if err != nil {
		return nil, fmt.Errorf("etcd: %s: %w%s", strings.Join(c.Endpoints, ", "), err, hint(err))
	}
	s := &Store{config: c, client: client}
	if _, err := s.Get(ctx, store.Fabric+"epoch"); err != nil && !errors.Is(err, store.ErrNotFound) {
		_ = s.Close()
		return nil, fmt.Errorf("%w%s", err, hint(err))
	}
	return s, nil
}

func (c Config) dialSettings(ctx context.Context) (clientv3.Config, error) {
	secure := 0
	for _, e := range c.Endpoints {
		scheme, rest, ok := strings.Cut(e, "://")
		if !ok || rest == "" || scheme != "https" && scheme != "http" && scheme != "unix" && scheme != "unixs" {
			return clientv3.Config{}, fmt.Errorf("etcd: endpoint %q is not https://host:port, http://host:port or unix:///path (--etcd-endpoints)", e)
		}
		if strings.HasSuffix(scheme, "s") {
			secure++
		}
	}
	if secure != 0 && secure != len(c.Endpoints) {
		return clientv3.Config{}, errors.New("etcd: some endpoints are https and some are not; make all of them https (--etcd-endpoints)")
	}
	if (c.User == "") != (c.Password == "") {
		return clientv3.Config{}, errors.New("etcd: a user and a password go together (--etcd-user, --etcd-password-file)")
	}
	config := clientv3.Config{
		Endpoints:            c.Endpoints,
		Username:             c.User,
		Password:             c.Password.Reveal(),
		DialTimeout:          c.Timeout,
		DialKeepAliveTime:    10 * time.Second, // gRPC knows no shorter one
		DialKeepAliveTimeout: 3 * time.Second,
		Context:              context.WithoutCancel(ctx), // lives until Close
		Logger:               newLogger(c.Log, &atomic.Bool{}, nil),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 2 * time.Second,
		})},
	}
	var err error
	if secure > 0 {
		config.TLS, err = c.tls()
	} else if c.CAFile != "" || c.CertFile != "" || c.KeyFile != "" {
		err = errors.New("etcd: TLS files are given, but the endpoints are not https (--etcd-endpoints)")
	}
	return config, err
}

func (c Config) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12} // etcd 3.4 knows no newer one by default
	if c.CAFile != "" {
		b, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("etcd: CA (--etcd-cafile): %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("etcd: %s holds no PEM certificate (--etcd-cafile)", c.CAFile)
		}
	}
	if c.CertFile == "" && c.KeyFile == "" {
		return config, nil
	}
	if c.CertFile == "" || c.KeyFile == "" {
		return nil, errors.New("etcd: a client certificate and its key go together (--etcd-certfile, --etcd-keyfile)")
	}
	if _, err := c.pair(); err != nil {
		return nil, err
	}
	// Read again for each connection: whoever renews the files need not restart us.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.pair() }
	return config, nil
}

func (c Config) pair() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("etcd: client certificate (--etcd-certfile %s, --etcd-keyfile %s): %w", c.CertFile, c.KeyFile, err)
	}
	return &pair, nil
}
