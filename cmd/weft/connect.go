package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/join"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
)

const (
	defaultAgentSocket = "/run/weft/agent.sock"
	maxAnswer          = 256 << 20 // bytes: a plan of a large fabric
)

// credentialsPath is the first file there is, in the order of the help text.
func (c *cli) credentialsPath() (string, error) {
	if c.config != "" {
		return c.config, nil
	}
	if p := c.env("WEFT_CONFIG"); p != "" {
		return p, nil
	}
	var tried []string
	for _, p := range c.credentialsPlaces() {
		_, err := os.Stat(p)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("credentials: %w", err)
		}
		tried = append(tried, p)
	}
	return "", fmt.Errorf("no credentials: none of %s is there; give --config FILE or WEFT_CONFIG (a server writes <data-dir>/admin.yaml at its first start)",
		strings.Join(tried, ", "))
}

func (c *cli) credentialsPlaces() []string {
	var places []string
	if home := c.env("HOME"); home != "" {
		places = append(places, filepath.Join(home, ".config/weft/admin.yaml"))
	}
	return append(places, "/etc/weft/admin.yaml", "/var/lib/weft/server/admin.yaml")
}

// credentials are those of the operator, with --server in place of their own.
func (c *cli) credentials() (join.Credentials, error) {
	path, err := c.credentialsPath()
	if err != nil {
		return join.Credentials{}, err
	}
	creds, err := join.LoadCredentials(path)
	if err != nil {
		return join.Credentials{}, err
	}
	if c.server != "" {
		creds.Server, creds.Others = c.server, nil
		if !strings.Contains(c.server, "://") {
			creds.Server = "https://" + c.server
		}
	}
	return creds, creds.Valid(c.now())
}

// dial prepares the connection to the server; the first request makes it.
func (c *cli) dial() (*grpc.ClientConn, error) {
	if c.conn != nil {
		return c.conn, nil
	}
	creds, err := c.credentials()
	if err != nil {
		return nil, err
	}
	addresses, err := creds.Addresses()
	if err != nil {
		return nil, err
	}
	c.conn, err = c.dialAt(addresses...)
	return c.conn, err
}

// dialAt prepares a connection to the first of some addresses that answers.
func (c *cli) dialAt(addresses ...string) (*grpc.ClientConn, error) {
	creds, err := c.credentials()
	if err != nil {
		return nil, err
	}
	config, err := creds.TLS()
	if err != nil {
		return nil, err
	}
	// No proxy: a fabric's server is reached as its nodes reach it.
	options := append(c.options(), grpc.WithNoProxy(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	target := "dns:///" + addresses[0]
	if len(addresses) > 1 {
		servers := manual.NewBuilderWithScheme("weft")
		servers.InitialState(inTurn(addresses))
		target, options = "weft:///"+addresses[0], append(options, grpc.WithResolvers(servers))
	}
	conn, err := grpc.NewClient(target, options...)
	if err == nil {
		c.others = append(c.others, conn)
	}
	return conn, err
}

// inTurn has gRPC try one server after the other, each by its own name.
func inTurn(addresses []string) resolver.State {
	var out resolver.State
	for _, a := range addresses {
		host, _, _ := net.SplitHostPort(a) // Addresses made it
		out.Addresses = append(out.Addresses, resolver.Address{Addr: a, ServerName: host})
	}
	return out
}

// dialAgent connects to this node's agent. It answers an error at once when
// there is no socket.
func (c *cli) dialAgent() (*grpc.ClientConn, error) {
	path := c.socket()
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("no agent on this node: %w", err)
	}
	if c.local != nil {
		return c.local, nil
	}
	var err error
	c.local, err = grpc.NewClient("unix:"+path, append(c.options(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	return c.local, err
}

func (c *cli) socket() string {
	if c.agentSocket != "" {
		return c.agentSocket
	}
	if p := c.env("WEFT_AGENT_SOCKET"); p != "" {
		return p
	}
	return defaultAgentSocket
}

// options bound every request by --timeout, unless it has a deadline of its own.
func (c *cli) options() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithUserAgent("weft"),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: min(c.timeout, 5*time.Second)}),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if _, ok := ctx.Deadline(); !ok {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.timeout)
				defer cancel()
			}
			var header metadata.MD
			began := time.Now()
			err := invoke(ctx, method, req, reply, conn, append(opts, grpc.Header(&header))...)
			c.warnLate(header)
			c.warnMemory(header, reply)
			if status.Code(err) == codes.DeadlineExceeded && ctx.Err() != nil {
				return &late{err, time.Since(began)}
			}
			return err
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, conn *grpc.ClientConn, method string, begin grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			stream, err := begin(ctx, d, conn, method, opts...)
			if err != nil || d.ServerStreams {
				return stream, err
			}
			return writing{stream, c}, nil
		}),
	}
}

// asked names who was asked, for errors.
func (c *cli) asked() string {
	if c.conn == nil && c.local != nil {
		return "the agent at " + c.socket()
	}
	if creds, err := c.credentials(); err == nil {
		return strings.Join(append([]string{creds.Server}, creds.Others...), ", ")
	}
	return "the server"
}

func (c *cli) resources() (weftv1.ResourcesClient, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	return weftv1.NewResourcesClient(conn), nil
}

// dialFor connects to one server by its name; without a name, to any.
func (c *cli) dialFor(ctx context.Context, name string) (*grpc.ClientConn, error) {
	conn, err := c.dial()
	if err != nil || name == "" {
		return conn, err
	}
	answer, err := weftv1.NewStatusClient(conn).Get(ctx, &weftv1.StatusGetRequest{})
	if err != nil {
		return nil, err
	}
	var known []string
	for _, s := range answer.GetServers() {
		if s.GetName() == name {
			return c.dialAt(s.GetAddress())
		}
		known = append(known, s.GetName())
	}
	return nil, fmt.Errorf("there is no server %q; there are %s", name, strings.Join(known, ", "))
}
