package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/preshared"
	"github.com/weft-net/weft/proto/relay"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// port is one line of the table of ports.
type port struct {
	number   uint16 // 0: protocol says which
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
	portWireGuard     = 51820
	portTailscaled    = 41641
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
			t := table.Table{Titles: []string{"PORT", "LISTENS", "DIALED BY", "FOR"}}
			for _, p := range ports(c.serverPort(), c.carrier(cmd.Context())) {
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

// carried is how packets travel between nodes, as far as ports go.
type carried struct {
	backend          string
	vxlan, wireguard uint16
}

// ports lists what a firewall must know. Embedded etcd listens on a unix socket.
func ports(server uint16, k carried) []port {
	out := []port{{server, "tcp", "weft-server", "weft-agent, weft", "control and tunnels: gRPC, websockets and HTTP CONNECT in mutual TLS; agents dial, servers never"}}
	switch k.backend {
	case "vxlan":
		out = append(out, port{k.vxlan, "udp", "every node", "every node", "VXLAN between nodes, from any source port; no encryption: keep it inside your network"})
	case "host-gw":
		out = append(out, port{0, "-", "every node", "every node", "backend host-gw: pods' own packets, routed; let the cluster CIDRs pass"})
	case "wireguard", "auto":
		out = append(out, k.meshed(server)...)
	case "tailscale":
		out = append(out, port{portTailscaled, "udp", "every node", "every node", "tailscaled's own, as it says (--port); where it is shut, packets go over a relay of the tailnet"})
	default:
		out = append(out, port{0, "-", "-", "-", "backend " + k.backend + ": packets between nodes are somebody else's"})
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

// meshed are the ports of pairs that choose their way. All of them together are for the
// best way: a node whose UDP is blocked goes over the server's TCP port.
func (k carried) meshed(server uint16) []port {
	out := []port{
		{k.wireguard, "udp", "every node", "every node", "WireGuard; what cannot be opened is punched through, or relayed"},
		{k.wireguard + 1, "udp", "every node", "every node", "WireGuard's second device, while keys change"},
		{0, k.shifted(), "single nodes", "every node", "WireGuard of a node behind one router with another, where the router does not keep the two apart; outbound is enough"},
		{server, "udp", "weft-server", "weft-agent", "echo: how a node looks from outside"},
		{server + 1, "udp", "weft-server", "weft-agent", "echo, once more: whether its router makes another port for each destination"},
		{preshared.Port, "udp", "every node", "every node", "inside of the tunnels, on fabric addresses: agents agree on pre-shared keys"},
		{relay.Port, "udp", "every node", "every node", "inside of the tunnels, on fabric addresses: packets that nodes relay"},
	}
	if k.backend == "auto" {
		out = append(out, port{k.vxlan, "udp", "nodes of a site", "nodes of that site", "VXLAN, where encryption permits it; no encryption: keep it inside the site"})
	}
	return out
}

// shifted are the ports of nodes that may not use the cluster's.
func (k carried) shifted() string {
	a, b := intent.WireGuardPort(k.wireguard, 1, 0), intent.WireGuardPort(k.wireguard, intent.PortShifts, 0)
	return fmt.Sprintf("%d-%d/udp", min(a, b), max(a, b)+intent.Slots-1)
}

// carrier asks the cluster's configuration for a moment; the defaults need no
// server, so that a firewall can be set before there is one.
func (c *cli) carrier(ctx context.Context) carried {
	out := carried{"vxlan", portVXLAN, portWireGuard}
	client, err := c.resources()
	if err != nil {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, min(c.timeout, 2*time.Second))
	defer cancel()
	answer, err := client.Get(ctx, &weftv1.GetRequest{Kind: "ClusterConfig", Name: "default"})
	if err != nil {
		c.say("the cluster could not be asked, these are the defaults: %s", c.describeError(err))
		return out
	}
	fields := answer.GetItem().GetSpec().GetFields()
	if s := fields["backend"].GetStringValue(); s != "" {
		out.backend = s
	}
	for field, port := range map[string]*uint16{"vxlanPort": &out.vxlan, "wireguardPort": &out.wireguard} {
		if n := fields[field].GetNumberValue(); n >= 1 && n <= 65535 {
			*port = uint16(n)
		}
	}
	return out
}
