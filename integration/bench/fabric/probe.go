package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

// The probe is this command, run again inside a namespace: it sends ICMP echo
// requests and knows to the millisecond what came back.

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

// echo is a socket that sends echo requests to one address.
type echo struct {
	icmp
	conn net.PacketConn
	to   net.Addr
	id   uint16
}

func dial(to netip.Addr, id uint16) (*echo, error) {
	f := family(to)
	conn, err := net.ListenPacket(f.network, "")
	if err != nil {
		return nil, err
	}
	return &echo{icmp: f, conn: conn, to: &net.IPAddr{IP: to.AsSlice()}, id: id}, nil
}

// send sends number seq. The kernel fills in ICMPv6's checksum.
func (e *echo) send(seq uint16) error {
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
	_, err := e.conn.WriteTo(b, e.to)
	return err
}

// receive returns the number of the next reply that is ours.
func (e *echo) receive() (uint16, error) {
	for b := make([]byte, 1500); ; {
		n, _, err := e.conn.ReadFrom(b)
		if err != nil {
			return 0, err
		}
		if n >= 8 && b[0] == e.reply && binary.BigEndian.Uint16(b[4:]) == e.id {
			return binary.BigEndian.Uint16(b[6:]), nil
		}
	}
}

// reachAll sends to every address every 2 ms until each has answered.
func reachAll(ctx context.Context, addrs []netip.Addr) (time.Duration, error) {
	began := time.Now()
	var wg sync.WaitGroup
	errs := make([]error, len(addrs))
	for i, a := range addrs {
		wg.Go(func() { errs[i] = reachOne(ctx, a, uint16(i+1)) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return 0, fmt.Errorf("%v: %w", addrs[i], err)
		}
	}
	return time.Since(began), nil
}

func reachOne(ctx context.Context, a netip.Addr, id uint16) error {
	e, err := dial(a, id)
	if err != nil {
		return err
	}
	defer e.conn.Close()
	answered := make(chan struct{})
	go func() {
		if _, err := e.receive(); err == nil {
			close(answered)
		}
	}()
	for tick, seq := time.NewTicker(2*time.Millisecond), uint16(0); ; seq++ {
		_ = e.send(seq) // no route yet: try again
		select {
		case <-answered:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Gaps is what a stream of echo requests saw.
type Gaps struct {
	Sent, Lost int
	LongestMS  float64 // between the sending of two answered requests, less the interval
}

// gaps sends every interval until its standard input is closed, then says what
// was lost.
func gaps(a netip.Addr, every time.Duration) (Gaps, error) {
	e, err := dial(a, 7)
	if err != nil {
		return Gaps{}, err
	}
	defer e.conn.Close()
	stop := make(chan struct{})
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		close(stop)
	}()
	var mu sync.Mutex
	var answered []int
	go func() {
		for base, last := 0, 0; ; {
			seq, err := e.receive()
			if err != nil {
				return
			}
			n := base + int(seq)
			if n < last-1<<15 {
				base += 1 << 16
				n += 1 << 16
			}
			last = max(last, n)
			mu.Lock()
			answered = append(answered, n)
			mu.Unlock()
		}
	}()
	var sent []time.Time
	for tick := time.NewTicker(every); ; {
		sent = append(sent, time.Now())
		_ = e.send(uint16(len(sent) - 1)) // a link that is down counts as a loss
		select {
		case <-tick.C:
			continue
		case <-stop:
		}
		break
	}
	time.Sleep(200 * time.Millisecond) // the last replies
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(answered)
	answered = slices.Compact(answered)
	longest, before := time.Duration(0), sent[0]
	for _, n := range answered {
		longest = max(longest, sent[n].Sub(before)-every)
		before = sent[n]
	}
	longest = max(longest, sent[len(sent)-1].Sub(before))
	return Gaps{Sent: len(sent), Lost: len(sent) - len(answered), LongestMS: float64(longest.Microseconds()) / 1000}, nil
}

// probe is the command inside the namespace:
// probe reach ADDR… | probe gaps ADDR MICROSECONDS.
func probe(ctx context.Context, args []string) error {
	var addrs []netip.Addr
	switch args[0] {
	case "reach":
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
	case "gaps":
		a, err := netip.ParseAddr(args[1])
		if err != nil {
			return err
		}
		us, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		g, err := gaps(a, time.Duration(us)*time.Microsecond)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(g)
	}
	return fmt.Errorf("probe: reach or gaps, not %q", args[0])
}
