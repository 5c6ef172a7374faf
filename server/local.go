package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/push"
)

// endpoint is an HTTP server for this machine: metrics and health, or pprof.
type endpoint struct {
	listener net.Listener
	server   *http.Server
}

// open listens. Without an address it answers nil, which runs and does nothing.
func open(ctx context.Context, flag, address string, h http.Handler) (*endpoint, error) {
	if address == "" {
		return nil, nil
	}
	l, err := listen(ctx, flag, address)
	if err != nil {
		return nil, err
	}
	return &endpoint{l, bounded(h)}, nil
}

// bounded is an HTTP server that no client can hold up.
func bounded(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: handshakeWithin, ReadTimeout: time.Minute, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
}

func (e *endpoint) close() {
	if e != nil {
		_ = e.listener.Close()
	}
}

// run serves until ctx ends.
func (e *endpoint) run(ctx context.Context) error {
	if e == nil {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = e.server.Close() })
	defer stop()
	if err := e.server.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// hubStatus is what metrics and health ask.
type hubStatus interface {
	Revision() int64
	Nodes() []push.Status
}

// journalStatus is what metrics ask of the journal.
type journalStatus interface {
	Waiting() (events, acts, lost int)
}

// metrics answers /metrics, /livez and /readyz.
func metrics(h hubStatus, j journalStatus) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		nodes{h},
		pages{j},
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if h.Revision() == 0 {
			http.Error(w, "the store is not read yet", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}

// profiles answers what `go tool pprof` asks.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// nodes are the figures of the hub, read when they are asked for.
type nodes struct{ hub hubStatus }

func desc(name, help string, labels prometheus.Labels) *prometheus.Desc {
	return prometheus.NewDesc("weft_server_"+name, help, nil, labels)
}

// Describe implements prometheus.Collector.
func (n nodes) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(n, ch) }

// Collect implements prometheus.Collector.
func (n nodes) Collect(ch chan<- prometheus.Metric) {
	rev := n.hub.Revision()
	var connected, behind, problems, errs, endpoints int
	for _, s := range n.hub.Nodes() {
		problems, errs, endpoints = problems+len(s.Problems), errs+len(s.ObjectErrors), endpoints+s.Endpoints
		if s.Connected {
			connected++
			if s.Applied < rev {
				behind++
			}
		}
	}
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(desc("build_info", "The release, in a label; the value is always 1.", prometheus.Labels{"version": note.Version}), 1)
	gauge(desc("intent_revision", "Revision of the store's last change of intent.", nil), float64(rev))
	gauge(desc("nodes_connected", "Nodes with a stream to this server.", nil), float64(connected))
	gauge(desc("nodes_behind", "Connected nodes that have not applied the last revision.", nil), float64(behind))
	gauge(desc("node_problems", "Problems of the nodes of this server.", nil), float64(problems))
	gauge(desc("object_errors", "Objects that nodes of this server did not understand or apply.", nil), float64(errs))
	gauge(desc("endpoints", "Attachments of pods on the nodes of this server.", nil), float64(endpoints))
}

// pages are the figures of the journal.
type pages struct{ journal journalStatus }

// Describe implements prometheus.Collector.
func (p pages) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(p, ch) }

// Collect implements prometheus.Collector.
func (p pages) Collect(ch chan<- prometheus.Metric) {
	events, acts, lost := p.journal.Waiting()
	for _, m := range []struct {
		name, help string
		kind       prometheus.ValueType
		value      int
	}{
		{"journal_waiting_events", "Events that are not stored yet.", prometheus.GaugeValue, events},
		{"journal_waiting_records", "Records of the audit that are not stored yet; at 256 writes are refused.", prometheus.GaugeValue, acts},
		{"journal_lost_events_total", "Events that were dropped because too many waited.", prometheus.CounterValue, lost},
	} {
		ch <- prometheus.MustNewConstMetric(desc(m.name, m.help, nil), m.kind, float64(m.value))
	}
}
