package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/front"
	"github.com/weft-net/weft/cmd/weft/internal/relay"
)

// forward is one pair of ports. Local 0 picks one.
type forward struct{ local, remote uint16 }

// endpoint is where a pod is.
type endpoint struct {
	node      string
	addresses []string
}

func (c *cli) portForwardCommand() *cobra.Command {
	var s selection
	var at string
	cmd := &cobra.Command{
		Use:   "port-forward endpoint/NAME [LOCAL:]PORT...",
		Short: "Listen on ports of this machine, and carry each connection to a pod",
		Long: "Listens on ports of this machine, and carries each connection to a port of an endpoint, which is named\n" +
			"by its own name or by its pod's. The agent of its node dials the pod's address. 8080:80 listens on 8080,\n" +
			"80 on 80, :80 picks a port. It runs until it is interrupted.",
		Example: "  weft port-forward endpoint/web-7d9 8080:80 -n shop\n  weft port-forward pod/pg-0 :5432",
		GroupID: groupFabric,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return errors.New("give an endpoint and at least one port: weft port-forward endpoint/NAME 8080:80")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			forwards, err := parseForwards(args[1:])
			if err != nil {
				return err
			}
			return c.portForward(cmd.Context(), s, args[0], at, forwards)
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return c.completeObjects(cmd, args, prefix)
		},
	}
	cmd.Flags().StringVarP(&s.namespace, "namespace", "n", "", "of this namespace (default: of all)")
	cmd.Flags().StringVar(&at, "address", "localhost", "`address` of this machine to listen on; localhost is 127.0.0.1 and ::1")
	return cmd
}

func parseForwards(args []string) ([]forward, error) {
	var out []forward
	for _, arg := range args {
		local, remote, both := strings.Cut(arg, ":")
		if !both {
			remote = local
		}
		var f forward
		var err error
		if f.remote, err = parsePort(remote); err == nil && local != "" && local != "0" {
			f.local, err = parsePort(local)
		}
		if err != nil {
			return nil, fmt.Errorf("%q is no [LOCAL:]PORT, such as 8080:80, 80 or :80", arg)
		}
		out = append(out, f)
	}
	return out, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no port, which is 1 to 65535", s)
	}
	return uint16(n), nil
}

func (c *cli) portForward(ctx context.Context, s selection, name, at string, forwards []forward) error {
	dialer, err := c.front()
	if err != nil {
		return err
	}
	to, err := c.endpoint(ctx, s, name)
	if err != nil {
		return err
	}
	var listeners []net.Listener
	remotes := map[string]uint16{} // by the address that is listened on
	for _, f := range forwards {
		ls, err := listenLocal(ctx, at, f.local)
		if err != nil {
			closeAll(listeners)
			return err
		}
		for _, l := range ls {
			listeners = append(listeners, l)
			remotes[l.Addr().String()] = f.remote
			if err := c.printf("Forwarding from %s -> %d\n", l.Addr(), f.remote); err != nil {
				closeAll(listeners)
				return err
			}
			c.warnOpen(l.Addr())
		}
	}
	return serveClients(ctx, listeners, func(ctx context.Context, client *net.TCPConn, at net.Addr) {
		_, local, _ := net.SplitHostPort(at.String())
		c.handling(local)
		if err := to.carry(ctx, dialer, remotes[at.String()], client); err != nil && ctx.Err() == nil {
			c.fault("forwarding %s -> %d: %v", local, remotes[at.String()], c.explainDial(name, err))
		}
	})
}

// handling says what kubectl says.
func (c *cli) handling(port string) {
	c.telling.Lock()
	defer c.telling.Unlock()
	_ = c.printf("Handling connection for %s\n", port)
}

// endpoint finds where a pod is.
func (c *cli) endpoint(ctx context.Context, s selection, name string) (endpoint, error) {
	kindName, rest, ok := strings.Cut(name, "/")
	switch {
	case !ok:
		kindName, rest = endpointKind, name
	case kindName == "pod" || kindName == "po" || kindName == "pods":
		kindName = endpointKind
	}
	k, err := c.known(ctx)
	if err != nil {
		return endpoint{}, err
	}
	kind, err := k.find(kindName)
	if err != nil {
		return endpoint{}, err
	}
	if kind.GetName() != endpointKind {
		return endpoint{}, fmt.Errorf("%s is no endpoint; ports of endpoint/NAME and pod/NAME are forwarded; to dial from a node: weft dial NODE HOST:PORT", name)
	}
	items, err := c.fetch(ctx, s, target{kind, []string{rest}})
	if err != nil {
		return endpoint{}, err
	}
	spec := items[0].GetSpec().GetFields()
	out := endpoint{node: spec["node"].GetStringValue()}
	for _, a := range spec["addresses"].GetListValue().GetValues() {
		out.addresses = append(out.addresses, a.GetStringValue())
	}
	if out.node == "" || len(out.addresses) == 0 {
		return endpoint{}, fmt.Errorf("%s has no address yet; weft get endpoints -o wide shows it", name)
	}
	return out, nil
}

// carry carries a client to a port. Its pod may listen on one of its addresses only.
func (e endpoint) carry(ctx context.Context, dialer *front.Dialer, port uint16, client *net.TCPConn) error {
	var first error
	for _, a := range e.addresses {
		conn, err := dialer.Dial(ctx, e.node, net.JoinHostPort(a, strconv.Itoa(int(port))))
		if err == nil {
			_ = relay.Both(ctx, client, conn) // the client sees how it ended
			return nil
		}
		if first == nil {
			first = err
		}
		if front.Code(err) != front.Unreachable {
			break
		}
	}
	return first
}

// listenLocal listens on a port of one address. On localhost one of its two
// addresses is enough, and both have the same port.
func listenLocal(ctx context.Context, at string, port uint16) ([]net.Listener, error) {
	hosts := []string{at}
	if at == "localhost" {
		hosts = []string{"127.0.0.1", "::1"}
	}
	var out []net.Listener
	var errs []error
	for _, host := range hosts {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			port = uint16(a.Port)
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("port %d of this machine: %w; choose another: LOCAL:PORT", port, errors.Join(errs...))
	}
	return out, nil
}

func closeAll(ls []net.Listener) {
	for _, l := range ls {
		_ = l.Close()
	}
}
