package uplink

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// Bounds on what a server offers.
const (
	maxCookie    = 64 // bytes
	maxEchoPorts = 4
	maxEchoAddrs = 8
	longestEcho  = 24 * time.Hour
)

// Echo is where a server tells how the node's datagrams look from outside.
type Echo struct {
	Server netip.Addr   // the server's, as the stream reaches it; zero: by a proxy
	Others []netip.Addr // of the server beside that, as it says
	Name   string       // HOST:PORT of the server
	Ports  []uint16     // UDP
	Cookie []byte       // proves to the echo that the node has a stream
	Until  time.Time    // when the cookie ends
}

// Echo is what a server offered last; false while none has, or when it has ended.
func (u *Uplink) Echo() (Echo, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.echo, time.Now().Before(u.echo.Until)
}

// offer takes what a server offers. What makes no sense offers nothing.
func (u *Uplink) offer(m *weftv1.EchoOffer, l link) {
	e := Echo{
		Name: l.server, Cookie: bytes.Clone(m.GetCookie()),
		Until: time.Now().Add(min(time.Duration(m.GetSeconds())*time.Second, longestEcho)),
	}
	if l.via == nil {
		e.Server = l.remote
	}
	for _, p := range m.GetPorts() {
		if p > 0 && p < 1<<16 && len(e.Ports) < maxEchoPorts && !slices.Contains(e.Ports, uint16(p)) {
			e.Ports = append(e.Ports, uint16(p))
		}
	}
	for _, text := range m.GetAddresses() {
		if a, err := netip.ParseAddr(text); err == nil && a.IsGlobalUnicast() && a.Zone() == "" && len(e.Others) < maxEchoAddrs {
			e.Others = append(e.Others, a.Unmap())
		}
	}
	if len(e.Cookie) == 0 || len(e.Cookie) > maxCookie || len(e.Ports) == 0 || m.GetSeconds() == 0 {
		return
	}
	u.mu.Lock()
	u.echo = e
	u.mu.Unlock()
	if u.cfg.OnEcho != nil {
		u.cfg.OnEcho()
	}
}
