package main

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/weft-net/weft/cmd/weft/internal/front"
	"github.com/weft-net/weft/cmd/weft/internal/socks"
	"github.com/weft-net/weft/proto/connect"
)

// front is what reaches targets through servers.
func (c *cli) front() (*front.Dialer, error) {
	creds, err := c.credentials()
	if err != nil {
		return nil, err
	}
	addresses, err := creds.Addresses()
	if err != nil {
		return nil, err
	}
	config, err := creds.TLS()
	if err != nil {
		return nil, err
	}
	return &front.Dialer{Servers: addresses, TLS: config, Within: c.timeout}, nil
}

// explainDial says of a dial that came to nothing what failed and what to do.
func (c *cli) explainDial(target string, err error) error {
	r := (*connect.Refusal)(nil)
	switch {
	case front.Old(err):
		return fmt.Errorf("%s knows no tunnels: it is of an older release (weft version)", c.asked())
	case errors.As(err, &r) && r.Reason != "":
		return errors.New(r.Reason) // it names the target
	case errors.As(err, &r):
		return fmt.Errorf("%s: the server answered %w", target, r)
	case front.Late(err):
		return fmt.Errorf("%s did not answer within %v (--timeout)", target, c.timeout)
	}
	return fmt.Errorf("no answer from %s: %w", c.asked(), err)
}

// replyTo is a dial's failure as a SOCKS client is told it. Of what did not answer,
// only the words say whether somebody said no.
func replyTo(err error) socks.Reply {
	if front.Late(err) {
		return socks.Expired
	}
	switch front.Code(err) {
	case front.Forbidden:
		return socks.NotAllowed
	case front.NoTunnel:
		return socks.NetworkUnreachable
	case front.TimedOut:
		return socks.Expired
	case front.Unreachable:
		if strings.Contains(err.Error(), "connection refused") {
			return socks.Refused
		}
		return socks.HostUnreachable
	}
	return socks.Failed
}

// parseTarget refuses what no server would dial, before one is asked.
func parseTarget(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return fmt.Errorf("%q is no HOST:PORT, such as 10.42.1.14:80, [fd42::e]:80 or web.example:443", s)
	}
	_, err = parsePort(port)
	return err
}
