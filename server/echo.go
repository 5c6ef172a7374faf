package server

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/echo"
)

// openEcho listens on the UDP port of the TLS port's number, and on the next.
func (r *rooms) openEcho(ctx context.Context, tcp net.Listener) {
	host, _, _ := net.SplitHostPort(r.Listen) // validate has read it
	_, number, _ := net.SplitHostPort(tcp.Addr().String())
	port, _ := strconv.ParseUint(number, 10, 16)
	r.interfaces = interfaceAddrs()
	r.echo = echo.Open(ctx, echo.Config{Host: host, Port: uint16(port), Log: r.Log})
}

// maxEchoAddrs bounds the addresses that an offer names.
const maxEchoAddrs = 8

// offerEcho is what a node asks the echo with.
func (r *rooms) offerEcho(node string, _ netip.Addr, _ time.Time) *weftv1.EchoOffer {
	if r.echo == nil || len(r.echo.Ports()) == 0 {
		return nil
	}
	cookie, lasts := r.echo.Cookie(node)
	o := &weftv1.EchoOffer{Cookie: cookie[:], Seconds: uint32(lasts.Seconds())}
	for _, p := range r.echo.Ports() {
		o.Ports = append(o.Ports, uint32(p))
	}
	for _, a := range slices.Concat([]netip.Addr{r.Advertise}, r.NodeIPs, r.interfaces) {
		if s := a.String(); a.IsGlobalUnicast() && len(o.Addresses) < maxEchoAddrs && !slices.Contains(o.Addresses, s) {
			o.Addresses = append(o.Addresses, s)
		}
	}
	return o
}
