package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	agentapp "sigs.k8s.io/apiserver-network-proxy/cmd/agent/app"
	agentoptions "sigs.k8s.io/apiserver-network-proxy/cmd/agent/app/options"
	serverapp "sigs.k8s.io/apiserver-network-proxy/cmd/server/app"
	serveroptions "sigs.k8s.io/apiserver-network-proxy/cmd/server/app/options"
)

// konnectivityEnd is Konnectivity's proxy server as its command starts it, HTTP
// CONNECT on a unix socket; what is not said here is its default.
type konnectivityEnd struct{}

func serveKonnectivity(ctx context.Context, s spec) (end, error) {
	_, port, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return nil, err
	}
	o := serveroptions.NewProxyRunOptions()
	if err := o.Flags().Parse([]string{
		"--mode=http-connect", "--uds-name=" + s.Front, "--server-port=0",
		"--agent-bind-address=127.0.0.1", "--agent-port=" + port,
		"--cluster-cert=" + filepath.Join(s.Dir, "server.crt"), "--cluster-key=" + filepath.Join(s.Dir, "server.key"),
		"--cluster-ca-cert=" + filepath.Join(s.Dir, "ca.crt"),
		"--admin-bind-address=127.0.0.1", fmt.Sprint("--admin-port=", s.Ports[0]),
		"--health-bind-address=127.0.0.1", fmt.Sprint("--health-port=", s.Ports[1]),
	}); err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	context.AfterFunc(ctx, func() { close(stop) })
	go func() {
		if err := (&serverapp.Proxy{}).Run(o, stop); err != nil {
			log.Print("konnectivity: ", err)
		}
	}()
	return konnectivityEnd{}, nil
}

func (konnectivityEnd) dial(context.Context, string) (net.Conn, error) {
	return nil, errors.New("konnectivity has a front of its own")
}

// sessions is what the server says of its agents in its metrics.
func (konnectivityEnd) sessions() int {
	all, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		return -1
	}
	for _, f := range all {
		if f.GetName() == "konnectivity_network_proxy_server_ready_backend_connections" {
			n := 0.0
			for _, m := range f.GetMetric() {
				n += m.GetGauge().GetValue()
			}
			return int(n)
		}
	}
	return 0
}

func agentKonnectivity(ctx context.Context, s spec, _ int) error {
	host, port, err := net.SplitHostPort(s.Dial)
	if err != nil {
		return err
	}
	o := agentoptions.NewGrpcProxyAgentOptions()
	if err := o.Flags().Parse([]string{
		"--proxy-server-host=" + host, "--proxy-server-port=" + port,
		"--agent-cert=" + filepath.Join(s.Dir, "agent.crt"), "--agent-key=" + filepath.Join(s.Dir, "agent.key"),
		"--ca-cert=" + filepath.Join(s.Dir, "ca.crt"),
		"--admin-bind-address=127.0.0.1", fmt.Sprint("--admin-server-port=", s.Ports[2]),
		"--health-server-host=127.0.0.1", fmt.Sprint("--health-server-port=", s.Ports[3]),
	}); err != nil {
		return err
	}
	stop := make(chan struct{})
	context.AfterFunc(ctx, func() { close(stop) })
	return (&agentapp.Agent{}).Run(o, stop, stop)
}
