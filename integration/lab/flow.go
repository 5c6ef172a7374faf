package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Answer bounds how long a packet may take to be answered: one that is not answered
// by then is lost. It is far longer than a machine with too much to do keeps a
// packet waiting, and than any queue of a kernel holds one.
const Answer = 5 * time.Second

// Flow sends echo requests until Stop, and knows each by its number.
type Flow struct {
	Every time.Duration // between two packets

	echo *echo
	stop chan struct{}
	sent chan struct{} // closed when no more are sent
	read chan struct{} // closed when no more are read

	mu      sync.Mutex
	packets []packet
	more    int           // packets that Stop still waits for
	enough  chan struct{} // closed when they are sent, once Stop waits for them
	open    int           // sent, and not answered yet
	drained chan struct{} // closed when none is open, once Stop waits for it
	failed  error         // of the reader
}

// packet is one request.
type packet struct {
	sent     time.Time
	answered time.Time
	err      error // from the kernel, which did not take it
}

func (p packet) lost() bool { return p.answered.IsZero() || p.answered.Sub(p.sent) > Answer }

// StartFlow sends from a host to an address. A packet that is due while the machine
// does not run us is not sent later.
func StartFlow(from *Host, to netip.Addr, every time.Duration) (*Flow, error) {
	e, err := dialEcho(from, to)
	if err != nil {
		return nil, err
	}
	f := &Flow{Every: every, echo: e, stop: make(chan struct{}), sent: make(chan struct{}), read: make(chan struct{})}
	from.lab.keep(f)
	go f.receive()
	go f.send()
	return f, nil
}

func (f *Flow) send() {
	defer close(f.sent)
	tick := time.NewTicker(f.Every)
	defer tick.Stop()
	for n := 0; ; n++ {
		f.mu.Lock()
		f.packets = append(f.packets, packet{sent: time.Now()})
		f.open++
		f.mu.Unlock()
		if err := f.echo.send(n); err != nil {
			f.settle(n, func(p *packet) { p.err = err })
		}
		f.oneMore()
		select {
		case <-tick.C:
		case <-f.stop:
			return
		}
	}
}

func (f *Flow) receive() {
	defer close(f.read)
	for {
		n, err := f.echo.receive()
		if err != nil {
			f.failed = err
			return
		}
		f.settle(n, func(p *packet) { p.answered = time.Now() })
	}
}

// Answered is when the first answer came; zero while none has.
func (f *Flow) Answered() (first time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.packets {
		if !p.answered.IsZero() && (first.IsZero() || p.answered.Before(first)) {
			first = p.answered
		}
	}
	return first
}

// oneMore tells Stop when the last packet that it waits for is sent.
func (f *Flow) oneMore() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.enough == nil {
		return
	}
	if f.more--; f.more == 0 {
		close(f.enough)
		f.enough = nil
	}
}

// tail asks for so many more packets; the channel is closed when they are sent.
func (f *Flow) tail(packets int) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.more, f.enough = packets, make(chan struct{})
	return f.enough
}

// settle writes down what became of a packet.
func (f *Flow) settle(n int, note func(*packet)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n >= len(f.packets) || f.packets[n].err != nil || !f.packets[n].answered.IsZero() {
		return // a reply that came twice
	}
	note(&f.packets[n])
	if f.open--; f.open == 0 && f.drained != nil {
		close(f.drained)
		f.drained = nil
	}
}

// Stop sends fifty more packets, however long that takes, so that what comes after
// the last step is seen as well, waits for the replies that are under way, each as long as it may take, and
// counts.
func (f *Flow) Stop(ctx context.Context) (Count, error) {
	select {
	case <-ctx.Done():
	case <-f.sent:
	case <-f.tail(50):
	}
	f.end()
	select {
	case <-ctx.Done():
		_ = f.echo.conn.Close()
		return Count{}, fmt.Errorf("lab: replies were not waited for: %w", context.Cause(ctx))
	case <-f.read:
		return Count{}, fmt.Errorf("lab: replies were not read: %w", f.failed)
	case <-f.settled():
	case <-time.After(Answer):
	}
	_ = f.echo.conn.Close()
	<-f.read
	return count(f.packets, f.Every), nil
}

// end ends the sending.
func (f *Flow) end() {
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
	<-f.sent
}

// settled is closed once every packet is answered.
func (f *Flow) settled() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan struct{})
	if f.open == 0 {
		close(c)
	} else {
		f.drained = c
	}
	return c
}

// Close ends a flow that nobody counts.
func (f *Flow) Close() {
	f.end()
	_ = f.echo.conn.Close()
	<-f.read
}

// Count is what became of a flow's packets.
type Count struct {
	Sent    int
	Lost    []Loss        // one a row of packets
	Longest time.Duration // between the sending of two answered packets, less the interval
}

// Loss is packets in a row of which none was answered.
type Loss struct {
	First, Last int // from 0
	At          time.Time
	Err         error // what the kernel said of the first
}

// count finds the packets that were lost.
func count(packets []packet, every time.Duration) Count {
	c := Count{Sent: len(packets)}
	if len(packets) == 0 {
		return c
	}
	before := packets[0].sent // the last that was answered
	for i, p := range packets {
		switch {
		case !p.lost():
			c.Longest = max(c.Longest, p.sent.Sub(before)-every)
			before = p.sent
		case i > 0 && packets[i-1].lost():
			c.Lost[len(c.Lost)-1].Last = i
		default:
			c.Lost = append(c.Lost, Loss{First: i, Last: i, At: p.sent, Err: p.err})
		}
	}
	c.Longest = max(c.Longest, packets[len(packets)-1].sent.Sub(before))
	return c
}

// Missing is how many packets were lost.
func (c Count) Missing() int {
	n := 0
	for _, l := range c.Lost {
		n += l.Last - l.First + 1
	}
	return n
}

// String is the count, with the first losses and when they were.
func (c Count) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d of %d packets lost", c.Missing(), c.Sent)
	for i, l := range c.Lost {
		if i == 10 {
			fmt.Fprintf(&s, "; and %d more times", len(c.Lost)-i)
			break
		}
		fmt.Fprintf(&s, "; %d to %d from %s", l.First, l.Last, l.At.Format("15:04:05.000"))
		if l.Err != nil {
			fmt.Fprintf(&s, " (%v)", l.Err)
		}
	}
	return s.String()
}
