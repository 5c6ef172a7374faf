// Command konnectivity gets a page through Konnectivity's ProxyService, with
// Konnectivity's own client, which a kube-apiserver has in it: one tunnel over a
// unix socket for one connection.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/pkg/client"
)

func main() {
	within := flag.Duration("within", 30*time.Second, "how long it may take")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: konnectivity SOCKET http://ADDRESS:PORT/PATH")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), *within)
	defer cancel()
	if err := get(ctx, flag.Arg(0), flag.Arg(1)); err != nil {
		fmt.Fprintln(os.Stderr, "konnectivity:", err)
		os.Exit(1)
	}
}

func get(ctx context.Context, socket, url string) (err error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dial(ctx, socket, network, addr)
		},
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	fmt.Println(res.Status)
	_, err = io.Copy(os.Stdout, res.Body)
	return err
}

// dial is a kube-apiserver's (its egress selector, connection type GRPC over UDS).
func dial(ctx context.Context, socket, network, addr string) (net.Conn, error) {
	tunnel, err := client.CreateSingleUseGrpcTunnelWithContext(ctx, context.Background(), socket,
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return tunnel.DialContext(ctx, network, addr)
}
