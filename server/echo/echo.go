package echo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	wire "github.com/weft-net/weft/proto/echo"
	"github.com/weft-net/weft/proto/note"
)

// lasts is for how long a cookie is good.
const lasts = time.Hour

// Config says where to listen.
type Config struct {
	Host string // address; empty: all
	Port uint16 // UDP, the first of two; 0: two that are free
	Log  *slog.Logger
	Now  func() time.Time // nil: time.Now
}

// Echo is the room.
type Echo struct {
	cfg    Config
	ports  []*port
	baker  baker
	rates  *rates
	counts [resultEnd]atomic.Uint64
}

// What becomes of a datagram.
const (
	answered = iota
	malformed
	refused // no good cookie
	limited
	unsent
	resultEnd
)

var results = [resultEnd]string{"answered", "malformed", "refused", "limited", "unsent"}

// Open listens. A port that cannot be had is logged, and not offered to anybody.
func Open(ctx context.Context, c Config) *Echo {
	if c.Now == nil {
		c.Now = time.Now
	}
	e := &Echo{cfg: c, baker: newBaker(), rates: newRates()}
	first, second := c.Port, c.Port+1
	switch c.Port {
	case 0:
		second = 0
	case 65535:
		second = c.Port - 1
	}
	for _, number := range []uint16{first, second} {
		p, err := listen(ctx, net.JoinHostPort(c.Host, strconv.Itoa(int(number))))
		if err != nil {
			c.Log.Warn("echo not served", note.Err, err, note.Do, "agents tell classes of NAT with two ports only; `ss -lunp` names who has it")
			continue
		}
		e.ports = append(e.ports, p)
	}
	return e
}

// Ports are those that are served.
func (e *Echo) Ports() []uint16 {
	var out []uint16
	for _, p := range e.ports {
		if !p.gone.Load() {
			out = append(out, p.number)
		}
	}
	return out
}

// Cookie is what a node asks with, and for how long it is good.
func (e *Echo) Cookie(node string) (wire.Cookie, time.Duration) {
	return e.baker.bake(node, e.cfg.Now().Add(lasts)), lasts
}

// Close stops listening.
func (e *Echo) Close() {
	for _, p := range e.ports {
		_ = p.conn.Close()
	}
}

// Run answers until ctx ends. A port that fails for good is logged, and offered no more.
func (e *Echo) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, e.Close)
	defer stop()
	var serving sync.WaitGroup
	for _, p := range e.ports {
		serving.Go(func() {
			if err := e.serve(ctx, p); err != nil {
				p.gone.Store(true)
				e.cfg.Log.Error("echo not served", note.Err, err, note.Do, "restart weft-server")
			}
		})
	}
	serving.Wait()
	return nil
}

// serve answers on one port. An error of one datagram says nothing of the next: ICMP
// tells UDP sockets what became of earlier ones.
func (e *Echo) serve(ctx context.Context, p *port) error {
	in := make([]byte, wire.Size+1)
	for failed := 0; ; {
		from, control, n, err := p.read(in)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if failed++; errors.Is(err, net.ErrClosed) || failed > maxFailures {
				return fmt.Errorf("echo: receive on UDP port %d: %w", p.number, err)
			}
			continue
		}
		failed = 0
		out, result := e.answer(in[:n], from)
		if result == answered && p.write(out, control, from) != nil {
			result = unsent
		}
		e.counts[result].Add(1)
	}
}

// maxFailures is after how many errors in a row a port is given up.
const maxFailures = 1000

// answer is what to say to a datagram.
func (e *Echo) answer(b []byte, from netip.AddrPort) (reply []byte, result int) {
	r, err := wire.ParseRequest(b)
	if err != nil {
		return nil, malformed
	}
	now := e.cfg.Now()
	node, ok := e.baker.good(r.Cookie, now)
	if !ok {
		return nil, refused
	}
	if !e.rates.take(node, from.Addr(), now) {
		return nil, limited
	}
	return wire.Reply{ID: r.ID, Observed: from}.Bytes(), answered
}

// requests is the counter of what became of datagrams.
func requests(result string) *prometheus.Desc {
	return prometheus.NewDesc("weft_server_echo_requests_total", "Datagrams to the echo, by what became of them.", nil, prometheus.Labels{"result": result})
}

// Describe implements prometheus.Collector.
func (e *Echo) Describe(ch chan<- *prometheus.Desc) {
	for _, result := range results {
		ch <- requests(result)
	}
}

// Collect implements prometheus.Collector. What has not happened has no line.
func (e *Echo) Collect(ch chan<- prometheus.Metric) {
	for i, result := range results {
		if n := e.counts[i].Load(); n > 0 {
			ch <- prometheus.MustNewConstMetric(requests(result), prometheus.CounterValue, float64(n))
		}
	}
}
