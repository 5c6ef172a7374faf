package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// Types of ICMP messages (RFC 792; RFC 4443, section 4).
const (
	echo4, reply4 = 8, 0
	echo6, reply6 = 128, 129
)

// waitFor is how long one request waits for its reply.
const waitFor = time.Second

// Result is how an address answered.
type Result struct {
	Sent, Received int
	RTT            time.Duration // of the quickest reply
}

// Echo sends count requests from one address to another, each after the reply to
// the one before or after a second.
func Echo(ctx context.Context, from, to netip.Addr, count int) (Result, error) {
	network := "ip4:icmp"
	if to.Is6() {
		network = "ip6:ipv6-icmp"
	}
	conn, err := net.ListenIP(network, &net.IPAddr{IP: from.AsSlice()})
	if err != nil {
		return Result{}, fmt.Errorf("probe: socket on %v: %w", from, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var tag [10]byte // of this probe: identifier, and what the data begins with
	_, _ = rand.Read(tag[:])
	var r Result
	for seq := range count {
		sent := time.Now()
		if err := conn.SetDeadline(sent.Add(waitFor)); err != nil {
			return r, fmt.Errorf("probe: %w", err)
		}
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		request := message(to.Is6(), tag, uint16(seq))
		if _, err := conn.WriteToIP(request, &net.IPAddr{IP: to.AsSlice()}); err != nil {
			return r, fmt.Errorf("probe: send to %v: %w", to, err)
		}
		r.Sent++
		err := await(conn, to, request)
		switch took := time.Since(sent); {
		case err == nil:
			if r.Received++; r.RTT == 0 || took < r.RTT {
				r.RTT = took
			}
		case ctx.Err() != nil:
			return r, ctx.Err()
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return r, fmt.Errorf("probe: receive from %v: %w", to, err)
		}
	}
	return r, nil
}

// message is an echo request. The kernel fills in the checksum of IPv6.
func message(is6 bool, tag [10]byte, seq uint16) []byte {
	m := make([]byte, 8, 64)
	m[0] = echo4
	if is6 {
		m[0] = echo6
	}
	copy(m[4:6], tag[:2])
	binary.BigEndian.PutUint16(m[6:], seq)
	m = append(m, tag[2:]...)
	if !is6 {
		binary.BigEndian.PutUint16(m[2:], checksum(m))
	}
	return m
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 != 0 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// await reads until the reply to a request comes.
func await(conn *net.IPConn, from netip.Addr, request []byte) error {
	buf := make([]byte, 1500)
	for {
		n, addr, err := conn.ReadFromIP(buf)
		if err != nil {
			return err
		}
		if a, ok := netip.AddrFromSlice(addr.IP); ok && a.Unmap() == from && answers(buf[:n], request) {
			return nil
		}
	}
}

// answers tells whether a message is the reply to a request.
func answers(m, request []byte) bool {
	want := byte(reply4)
	if request[0] == echo6 {
		want = reply6
	}
	return len(m) >= len(request) && m[0] == want && m[1] == 0 && string(m[4:len(request)]) == string(request[4:])
}
