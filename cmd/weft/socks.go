package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/front"
	"github.com/weft-net/weft/cmd/weft/internal/relay"
	"github.com/weft-net/weft/cmd/weft/internal/socks"
)

// Bounds on what is accepted from programs on this machine.
const (
	maxClients = 512              // at once; the next ones wait in the kernel's queue
	helloTime  = 10 * time.Second // for a client to say what it wants
)

func (c *cli) socksCommand() *cobra.Command {
	var listen, node string
	cmd := &cobra.Command{
		Use:   "socks",
		Short: "A SOCKS5 proxy on this machine that dials by way of the fabric",
		Long: "A SOCKS5 proxy (RFC 1928: CONNECT, without authentication) on this machine. What it is asked for is\n" +
			"dialled by way of the fabric with your permissions: by the node that the servers' routes say, or by\n" +
			"the one that --node names. Names are resolved there, if the client sends them (socks5h).\n" +
			"It runs until it is interrupted.",
		Example: "  weft socks --listen 127.0.0.1:1080\n  curl --proxy socks5h://127.0.0.1:1080 http://10.42.1.14/",
		GroupID: groupFabric,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dialer, err := c.front()
			if err != nil {
				return err
			}
			l, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", listen)
			if err != nil {
				return fmt.Errorf("--listen %s: %w", listen, err)
			}
			if err := c.printf("SOCKS5 on %s\n", l.Addr()); err != nil {
				_ = l.Close()
				return err
			}
			c.warnOpen(l.Addr())
			return serveClients(cmd.Context(), []net.Listener{l}, func(ctx context.Context, client *net.TCPConn, _ net.Addr) {
				c.socksClient(ctx, dialer, node, client)
			})
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:1080", "`ADDRESS:PORT` to listen on; port 0 picks one")
	cmd.Flags().StringVar(&node, "node", "", "this `node` dials all of it")
	_ = cmd.RegisterFlagCompletionFunc("node", func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return c.completeObjects(cmd, []string{"node"}, prefix)
	})
	return cmd
}

// warnOpen says that others can use what is meant for this machine.
func (c *cli) warnOpen(at net.Addr) {
	if a, err := netip.ParseAddrPort(at.String()); err == nil && !a.Addr().IsLoopback() {
		c.say("warning: whoever reaches %v dials with your permissions", at)
	}
}

// socksClient serves one client.
func (c *cli) socksClient(ctx context.Context, dialer *front.Dialer, node string, client *net.TCPConn) {
	_ = client.SetDeadline(time.Now().Add(helloTime))
	target, err := socks.Accept(client)
	if err != nil {
		if ctx.Err() == nil {
			c.fault("%s: %v", client.RemoteAddr(), err)
		}
		return
	}
	_ = client.SetDeadline(time.Time{})
	conn, err := dialer.Dial(ctx, node, target)
	if err != nil {
		if ctx.Err() == nil {
			c.fault("%v", c.explainDial(target, err))
		}
		_ = socks.Answer(client, replyTo(err))
		return
	}
	if err := socks.Answer(client, socks.Succeeded); err != nil {
		_ = conn.Close()
		return
	}
	_ = relay.Both(ctx, client, conn) // the client sees how it ended
}

// fault says what failed for one client. Clients come at the same time.
func (c *cli) fault(format string, args ...any) {
	c.telling.Lock()
	defer c.telling.Unlock()
	c.say("error: "+format, args...)
}

// serveClients has each client of some listeners served by f, a bounded number at
// once, until ctx ends. It closes the listeners and each client.
func serveClients(ctx context.Context, listeners []net.Listener, f func(context.Context, *net.TCPConn, net.Addr)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var going sync.WaitGroup
	defer going.Wait()
	room := make(chan struct{}, maxClients)
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		going.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = l.Close() })()
			failed <- acceptClients(ctx, l, room, &going, f)
		})
	}
	err := <-failed
	cancel()
	if errors.Is(err, context.Canceled) { // it was to run until then
		return nil
	}
	return err
}

func acceptClients(ctx context.Context, l net.Listener, room chan struct{}, going *sync.WaitGroup, f func(context.Context, *net.TCPConn, net.Addr)) error {
	defer l.Close()
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", l.Addr(), err)
		}
		going.Go(func() {
			defer func() { <-room }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			client, ok := conn.(*net.TCPConn)
			if !ok {
				return
			}
			f(ctx, client, l.Addr())
		})
	}
}
