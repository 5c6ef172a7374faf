package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/tunnel"
)

// refusal is why a stream is not opened.
type refusal struct {
	result Result
	code   tunnel.Code
	rule   string // that denied it, without names
	reason string
}

// Error implements error.
func (r refusal) Error() string { return r.reason }

func asRefusal(err error) refusal {
	var no refusal
	if errors.As(err, &no) {
		return no
	}
	return refusal{result: Failed, code: tunnel.Unknown, reason: err.Error()}
}

// denied is what a verdict says, as its asker reads it.
func denied(v egress.Verdict) refusal {
	return refusal{result: Denied, code: tunnel.Forbidden, rule: v.Class(), reason: v.Text()}
}

// dial connects to what a request asks for, if that is permitted.
func (s *session) dial(r *tunnel.Request, req egress.Request) (*net.TCPConn, error) {
	if req.Node != "" && req.Node != s.cfg.Node {
		return nil, refusal{result: Malformed, code: tunnel.Invalid, reason: fmt.Sprintf("the dial is meant for node %s, and this is %s", req.Node, s.cfg.Node)}
	}
	rules, err := s.cfg.Rules()
	if err != nil {
		return nil, refusal{result: Denied, code: tunnel.Overloaded, rule: "not-ready", reason: fmt.Sprintf("node %s cannot judge yet what may be dialled: %v", s.cfg.Node, err)}
	}
	target := req.Target()
	if v := rules.Check(req.By, target); !v.Allow && !target.Addr.IsValid() {
		return nil, denied(v)
	}
	ctx, cancel := s.within(r)
	defer cancel()
	targets, err := s.resolve(ctx, target)
	if err != nil {
		return nil, err
	}
	allowed := make([]netip.AddrPort, 0, len(targets))
	var no egress.Verdict
	for _, t := range targets {
		t.Own = s.cfg.Own(t.Addr)
		if v := rules.Check(req.By, t); v.Allow {
			allowed = append(allowed, netip.AddrPortFrom(t.Addr, t.Port))
		} else if no.Rule == "" {
			no = v
		}
	}
	if len(allowed) == 0 {
		return nil, denied(no)
	}
	return connect(ctx, allowed)
}

// toAnswer is kept of the time that the opener gives, so that it hears whose silence it
// was before it gives up; of a short time it is a tenth.
const toAnswer = 500 * time.Millisecond

// within is the time that a dial has.
func (s *session) within(r *tunnel.Request) (context.Context, context.CancelFunc) {
	most := dialWithin
	if d := r.Deadline(); !d.IsZero() {
		left := time.Until(d)
		most = min(left-min(left/10, toAnswer), dialMost)
	}
	ctx, cancel := context.WithTimeout(r.Context(), most)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// resolve lists the addresses of a target. A resolver may give IPv4 in IPv6, which
// the kernel would dial as what is in it.
func (s *session) resolve(ctx context.Context, t egress.Target) ([]egress.Target, error) {
	if t.Addr.IsValid() {
		return []egress.Target{t}, nil
	}
	select {
	case s.lookups <- struct{}{}:
		defer func() { <-s.lookups }()
	case <-ctx.Done():
		return nil, refusal{result: TimedOut, code: tunnel.TimedOut, reason: "too many names are being resolved on node " + s.cfg.Node}
	}
	addrs, err := s.cfg.Resolver.LookupNetIP(ctx, "ip", t.Host)
	if err != nil || len(addrs) == 0 {
		return nil, s.unresolved(ctx, t.Host, err)
	}
	var out []egress.Target
	for _, a := range addrs {
		t.Addr = a.Unmap()
		if !slices.Contains(out, t) && len(out) < maxTried {
			out = append(out, t)
		}
	}
	return out, nil
}

func (s *session) unresolved(ctx context.Context, host string, err error) error {
	if err != nil && ctx.Err() != nil {
		return late(ctx, fmt.Sprintf("the name %s was not resolved in time on node %s", host, s.cfg.Node))
	}
	why := "it has no address"
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		why = dns.Err
	case err != nil:
		why = err.Error()
	}
	return refusal{result: Unresolved, code: tunnel.Unreachable, reason: fmt.Sprintf("node %s does not resolve %s: %s", s.cfg.Node, host, why)}
}

// connect dials addresses one after the other, each with its share of the time.
func connect(ctx context.Context, to []netip.AddrPort) (*net.TCPConn, error) {
	var last error
	for i, a := range to {
		share, cancel := ctx, context.CancelFunc(func() {})
		if end, ok := ctx.Deadline(); ok && i < len(to)-1 {
			share, cancel = context.WithTimeout(ctx, max(time.Until(end)/time.Duration(len(to)-i), 2*time.Second))
		}
		var d net.Dialer
		c, err := d.DialContext(share, "tcp", a.String())
		cancel()
		if err == nil {
			tcp, ok := c.(*net.TCPConn)
			if ok {
				return tcp, nil
			}
			c.Close()
			err = fmt.Errorf("%T is no TCP connection", c)
		}
		last = failed(ctx, a, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// failed puts what the kernel said of a dial into a code and an operator's words.
func failed(ctx context.Context, to netip.AddrPort, err error) refusal {
	no := func(result Result, code tunnel.Code, format string) refusal {
		return refusal{result: result, code: code, reason: fmt.Sprintf(format, to)}
	}
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return no(Refused, tunnel.Refused, "%v: connection refused: nobody listens there")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return no(Unreachable, tunnel.Unreachable, "%v: no way there from the node")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOBUFS):
		return no(Overloaded, tunnel.Overloaded, "%v: the node has no file or buffer left for it")
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return no(Unreachable, tunnel.Unreachable, "%v: a firewall of the node forbids it")
	case ctx.Err() != nil:
		return late(ctx, fmt.Sprintf("%v: no answer in time", to))
	case errors.As(err, &timeout) && timeout.Timeout():
		return no(TimedOut, tunnel.TimedOut, "%v: no answer in time")
	}
	return refusal{result: Failed, code: tunnel.Unreachable, reason: fmt.Sprintf("%v: %s", to, strings.TrimPrefix(err.Error(), "dial tcp "+to.String()+": "))}
}

// late is a dial whose time is over, or whose opener went.
func late(ctx context.Context, reason string) refusal {
	if errors.Is(ctx.Err(), context.Canceled) {
		return refusal{result: Canceled, code: tunnel.Canceled, reason: "the opener gave up"}
	}
	return refusal{result: TimedOut, code: tunnel.TimedOut, reason: reason}
}

// kernelsOwn asks the kernel whether an address is the host's: what is sent to one
// of its own has that address as its source too, but for 127.0.0.2 and the like.
// Connecting a UDP socket makes the kernel route, and sends nothing.
func kernelsOwn(a netip.Addr) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 9)))
	if err != nil {
		for _, scarce := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
			if errors.Is(err, scarce) {
				return true // nobody can tell: judged as if it were
			}
		}
		return false
	}
	defer c.Close()
	local, ok := c.LocalAddr().(*net.UDPAddr)
	return ok && local.AddrPort().Addr().Unmap() == a
}
