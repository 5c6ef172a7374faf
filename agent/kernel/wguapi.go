package kernel

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// uapi is a connection to the process of a device (wireguard.com/xplatform). wgctrl
// lists the folder of sockets, connects and disconnects for each request, which costs
// several times what an endpoint that changes does; and endpoints are what changes all
// the time, and soonest where time matters. So requests that change nothing else go by
// a connection that stays.
type uapi struct {
	conn net.Conn
	in   *bufio.Reader
}

// noUAPI says that nobody listens: wgctrl is to find out who has the device, if any.
type noUAPI struct{ error }

func dialUAPI(dev string) (*uapi, error) {
	conn, err := net.Dial("unix", uapiSocket(dev))
	if err != nil {
		return nil, &noUAPI{err}
	}
	return &uapi{conn, bufio.NewReader(conn)}, nil
}

// set makes one request that changes a device. What the device says of it is refused; an
// err is of the connection.
func (u *uapi) set(request string) (refused, err error) {
	if _, err := u.conn.Write([]byte(request)); err != nil {
		return nil, err
	}
	answer, err := u.in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	end, err := u.in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	code, ok := strings.CutPrefix(strings.TrimSuffix(answer, "\n"), "errno=")
	n, err := strconv.Atoi(code)
	switch {
	case end != "\n":
		return nil, fmt.Errorf("an answer ends with %q", end)
	case !ok || err != nil:
		return nil, fmt.Errorf("an answer begins with %q", answer)
	case n != 0:
		return unix.Errno(max(n, -n)), nil
	}
	return nil, nil
}

// set makes a request by the connection that stays. Its other end closes it when it was
// idle for long, and when the device ends: then a fresh one is tried, once. Only who has
// the turn may call it.
func (a *asks) set(dev, request string) (err error) {
	for fresh := false; ; {
		if a.uapi == nil {
			if a.uapi, err = dialUAPI(dev); err != nil {
				return err
			}
			fresh = true
		}
		refused, err := a.uapi.set(request)
		if err == nil {
			return refused
		}
		a.hangUp()
		if fresh {
			return fmt.Errorf("socket %s: %w", uapiSocket(dev), err)
		}
	}
}

func (a *asks) hangUp() {
	if a.uapi != nil {
		_ = a.uapi.conn.Close()
		a.uapi = nil
	}
}

// endpointsAlone is the request for a configuration that changes nothing but endpoints
// of peers that are there; empty for any other.
func endpointsAlone(c wgtypes.Config) string {
	if c.PrivateKey != nil || c.ListenPort != nil || c.FirewallMark != nil || c.ReplacePeers {
		return ""
	}
	var b strings.Builder
	b.WriteString("set=1\n")
	for _, p := range c.Peers {
		if !p.UpdateOnly || p.Endpoint == nil || p.Remove || p.PresharedKey != nil || p.PersistentKeepaliveInterval != nil || p.ReplaceAllowedIPs || len(p.AllowedIPs) > 0 {
			return ""
		}
		fmt.Fprintf(&b, "public_key=%s\nupdate_only=true\nendpoint=%v\n", hex.EncodeToString(p.PublicKey[:]), p.Endpoint)
	}
	b.WriteString("\n")
	return b.String()
}
