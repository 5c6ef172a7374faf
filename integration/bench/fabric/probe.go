package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// The probe is this command, run again inside a namespace: it sends ICMP echo
// requests to many addresses and tells when all have answered.

// icmp is one family's echo (RFC 792, RFC 4443 section 4).
type icmp struct {
	network        string
	request, reply byte
}

func family(a netip.Addr) icmp {
	if a.Is4() {
		return icmp{"ip4:icmp", 8, 0}
	}
	return icmp{"ip6:ipv6-icmp", 128, 129}
}

// echo is a socket that sends echo requests.
type echo struct {
	icmp
	conn net.PacketConn
	id   uint16
}

func dial(f icmp, id uint16) (*echo, error) {
	conn, err := net.ListenPacket(f.network, "")
	if err != nil {
		return nil, err
	}
	return &echo{icmp: f, conn: conn, id: id}, nil
}

// sendTo sends number seq to an address of the family. The kernel fills in
// ICMPv6's checksum.
func (e *echo) sendTo(to netip.Addr, seq uint16) error {
	b := make([]byte, 16)
	b[0] = e.request
	binary.BigEndian.PutUint16(b[4:], e.id)
	binary.BigEndian.PutUint16(b[6:], seq)
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if e.request == 8 {
		binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	}
	_, err := e.conn.WriteTo(b, &net.IPAddr{IP: to.AsSlice()})
	return err
}

// receive returns the number of the next reply that is ours, and who sent it.
func (e *echo) receive() (uint16, netip.Addr, error) {
	for b := make([]byte, 1500); ; {
		n, from, err := e.conn.ReadFrom(b)
		if err != nil {
			return 0, netip.Addr{}, err
		}
		if n >= 8 && b[0] == e.reply && binary.BigEndian.Uint16(b[4:]) == e.id {
			addr, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
			return binary.BigEndian.Uint16(b[6:]), addr.Unmap(), nil
		}
	}
}

// pace is how many requests a second reachAll sends in all: a flood of its own
// would take the processor from the agents that it waits for.
const pace = 5000

// reachAll sends to every address in turn until each has answered. It has one
// socket a family: the kernel hands every reply to every raw socket.
func reachAll(ctx context.Context, addrs []netip.Addr) (time.Duration, error) {
	began := time.Now()
	answers := make(chan netip.Addr, len(addrs))
	sockets := map[string]*echo{}
	for _, a := range addrs {
		f := family(a)
		if sockets[f.network] != nil {
			continue
		}
		e, err := dial(f, uint16(os.Getpid()))
		if err != nil {
			return 0, err
		}
		defer e.conn.Close()
		sockets[f.network] = e
		go func() {
			for {
				_, from, err := e.receive()
				if err != nil {
					return
				}
				answers <- from
			}
		}()
	}
	missing := map[netip.Addr]bool{}
	for _, a := range addrs {
		missing[a] = true
	}
	tick := time.NewTicker(time.Second / pace)
	for seq := 0; len(missing) > 0; seq++ {
		if a := addrs[seq%len(addrs)]; missing[a] {
			_ = sockets[family(a).network].sendTo(a, uint16(seq)) // no route yet: try again
		} else {
			continue
		}
		select {
		case from := <-answers:
			delete(missing, from)
		case <-ctx.Done():
			return 0, fmt.Errorf("%d of %d did not answer: %w", len(missing), len(addrs), ctx.Err())
		case <-tick.C:
		}
	}
	return time.Since(began), nil
}

// probe is the command inside the namespace: probe reach ADDR…
func probe(ctx context.Context, args []string) error {
	if args[0] != "reach" {
		return fmt.Errorf("probe: reach, not %q", args[0])
	}
	var addrs []netip.Addr
	for _, s := range args[1:] {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return err
		}
		addrs = append(addrs, a)
	}
	took, err := reachAll(ctx, addrs)
	if err != nil {
		return err
	}
	fmt.Println(took.Microseconds())
	return nil
}
