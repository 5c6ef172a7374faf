package lab

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

// Flow is a ping that runs until Stop.
type Flow struct {
	Every time.Duration // between two packets

	process *Process
}

// StartFlow pings an address from a host.
func StartFlow(from *Host, name string, to netip.Addr, every time.Duration) (*Flow, error) {
	interval := strconv.FormatFloat(every.Seconds(), 'f', -1, 64)
	p, err := from.Start("flow-"+name, "ping", "-q", "-i", interval, to.String())
	return &Flow{Every: every, process: p}, err
}

var pinged = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// Stop ends the ping a few packets later, so that what comes after the last step
// is seen as well, and counts. The one that is on its way at the end is not lost.
func (f *Flow) Stop(ctx context.Context) (sent, lost int, err error) {
	select {
	case <-ctx.Done():
	case <-f.process.Done():
	case <-time.After(50 * f.Every):
	}
	if err := f.process.Signal(syscall.SIGINT); err != nil {
		return 0, 0, fmt.Errorf("lab: %s ended by itself: %w\n%s", f.process.Name, err, f.process.Tail(5))
	}
	<-f.process.Done()
	m := pinged.FindStringSubmatch(f.process.Tail(4))
	if m == nil {
		return 0, 0, fmt.Errorf("lab: no statistics from %s:\n%s", f.process.Name, f.process.Tail(5))
	}
	sent, _ = strconv.Atoi(m[1])
	received, _ := strconv.Atoi(m[2])
	lost = sent - received
	if lost == 1 && received > 0 {
		lost = 0
	}
	return sent, lost, nil
}
