package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// port is one line of the table of ports.
type port struct {
	number   uint16
	protocol string
	listens  string
	dials    string
	what     string
}

const (
	portServer        = 7443
	portMembers       = 7445
	portServerMetrics = 7446
	portAgentMetrics  = 7447
	portVXLAN         = 8472
)

func (c *cli) portsCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "ports",
		Short: "Which ports are used, and who dials whom: what a firewall must let through",
		Long: "Which ports are used, and who dials whom. With credentials the cluster's own settings are\n" +
			"shown; without, the defaults.",
		GroupID: groupFabric,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			backend, vxlan := c.backend(cmd.Context())
			t := table.Table{Titles: []string{"PORT", "LISTENS", "DIALED BY", "FOR"}}
			for _, p := range ports(c.serverPort(), backend, vxlan) {
				where := fmt.Sprintf("%d/%s", p.number, p.protocol)
				if p.number == 0 {
					where = p.protocol
				}
				t.Add(where, p.listens, p.dials, p.what)
			}
			return c.printTable(&o, &t)
		},
	}
	cmd.Flags().BoolVar(&o.noHeaders, "no-headers", false, "no titles above the table")
	return cmd
}

// ports lists what a firewall must know. Embedded etcd listens on a unix socket.
func ports(server uint16, backend string, vxlan uint16) []port {
	out := []port{{server, "tcp", "weft-server", "weft-agent, weft", "control and tunnels: gRPC, websockets and HTTP CONNECT in mutual TLS; agents dial, servers never"}}
	switch backend {
	case "vxlan":
		out = append(out, port{vxlan, "udp", "every node", "every node", "VXLAN between nodes, from any source port; no encryption: keep it inside your network"})
	case "host-gw":
		out = append(out, port{0, "-", "every node", "every node", "backend host-gw: pods' own packets, routed; let the cluster CIDRs pass"})
	default:
		out = append(out, port{0, "-", "-", "-", "backend " + backend + ": packets between nodes are somebody else's"})
	}
	return append(out,
		port{portMembers, "tcp", "weft-server", "weft-server", "members of an embedded store among each other, mutual TLS; none with one server or --etcd-endpoints"},
		port{portServerMetrics, "tcp", "weft-server, localhost", "Prometheus on the server", "metrics, health"},
		port{portAgentMetrics, "tcp", "weft-agent, localhost", "Prometheus on the node", "metrics, health"},
	)
}

// serverPort is that of the credentials' server, else the default.
func (c *cli) serverPort() uint16 {
	creds, err := c.credentials()
	if err != nil {
		return portServer
	}
	address, err := creds.Address()
	if err != nil {
		return portServer
	}
	_, text, _ := net.SplitHostPort(address) // Address made it
	if n, err := strconv.ParseUint(text, 10, 16); err == nil {
		return uint16(n)
	}
	return portServer
}

// backend asks the cluster's configuration for a moment; the defaults need no
// server, so that a firewall can be set before there is one.
func (c *cli) backend(ctx context.Context) (string, uint16) {
	client, err := c.resources()
	if err != nil {
		return "vxlan", portVXLAN
	}
	ctx, cancel := context.WithTimeout(ctx, min(c.timeout, 2*time.Second))
	defer cancel()
	answer, err := client.Get(ctx, &weftv1.GetRequest{Kind: "ClusterConfig", Name: "default"})
	if err != nil {
		c.say("the cluster could not be asked, these are the defaults: %s", c.describeError(err))
		return "vxlan", portVXLAN
	}
	backend, vxlan := "vxlan", uint16(portVXLAN)
	fields := answer.GetItem().GetSpec().GetFields()
	if s := fields["backend"].GetStringValue(); s != "" {
		backend = s
	}
	if n := fields["vxlanPort"].GetNumberValue(); n >= 1 && n <= 65535 {
		vxlan = uint16(n)
	}
	return backend, vxlan
}
