package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
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
	p, err := from.Start("flow-"+name, "ping", "-n", "-i", interval, to.String())
	return &Flow{Every: every, process: p}, err
}

var (
	pinged   = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)
	answered = regexp.MustCompile(`bytes from .*icmp_seq=(\d+)`)
)

// underWay is how many packets may have been on their way at the end: some, on a
// machine whose processors are busy; fewer than are sent after the last step.
const underWay = 10

// Stop ends the ping a few packets later, so that what comes after the last step
// is seen as well, and counts. Those that are on their way at the end are not lost,
// and a single one, whenever it was, is not counted.
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
	if late := f.late(sent); late <= underWay {
		lost = max(0, lost-late)
	}
	if lost == 1 && received > 0 {
		lost = 0
	}
	return sent, lost, nil
}

// Missing lists packets that were not answered before a later one was, 20 at most.
func (f *Flow) Missing() []int {
	b, _ := os.ReadFile(f.process.Log)
	var out []int
	was := 0
	for _, m := range answered.FindAllSubmatch(b, -1) {
		n, _ := strconv.Atoi(string(m[1]))
		for i := was + 1; i < n && len(out) < 20; i++ {
			out = append(out, i)
		}
		was = n
	}
	return out
}

// late counts the packets sent after the last that was answered. Sequence numbers
// have 16 bits.
func (f *Flow) late(sent int) int {
	all := answered.FindAllStringSubmatch(f.process.Tail(10), -1)
	if len(all) == 0 {
		return sent
	}
	last, _ := strconv.Atoi(all[len(all)-1][1])
	return int(uint16(sent - last))
}
