package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
)

// gauge is one line (a counter if its name ends in _total) of Prometheus' text format, version 0.0.4. Writing it by hand
// spares the agent a library, its registry and its megabytes.
type gauge struct {
	name, help string
	value      float64
}

// family is several lines of one name, told apart by one label.
type family struct {
	name, help, label string
	values            map[string]float64
}

func (a *agent) gauges() []gauge {
	n, _ := a.uplink.Intent()
	line := a.uplink.Status()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	connected := 0.0
	if line.Server != "" {
		connected = 1
	}
	paused := 0.0
	if _, on := a.breaks.Paused(); on {
		paused = 1
	}
	return []gauge{
		{"weft_agent_revision", "Revision of the intent held.", float64(line.Revision)},
		{"weft_agent_applied_revision", "Revision that the kernel is at.", float64(a.loop.Applied())},
		{"weft_agent_server_connected", "1 while a server is in use.", connected},
		{"weft_agent_server_heard_timestamp_seconds", "When a server was last heard, Unix time.", seconds(line.Heard)},
		{"weft_agent_certificate_end_timestamp_seconds", "When the node's certificate ends, Unix time.", seconds(line.CertificateEnd)},
		{"weft_agent_peers", "Nodes of the fabric, this one among them.", float64(len(n.Peers))},
		{"weft_agent_endpoints", "Pods attached.", float64(len(a.pods.Endpoints()))},
		{"weft_agent_problems", "Problems that status lists.", float64(len(a.uplink.Problems()))},
		{"weft_agent_heals_total", "Objects put back that somebody undid, since the start.", float64(a.loop.Healed())},
		{"weft_agent_untouched_objects", "Objects that are other than they should be because healing is paused.", float64(a.loop.Untouched())},
		{"weft_agent_paused", "1 while healing is paused.", paused},
		{"weft_agent_egress_streams", "Connections open for servers.", float64(a.dials.Counts().Streams)},
		{"weft_agent_relay_servers", "Servers whose relay answers.", float64(a.pairs.relay.Stats().Servers)},
		{"weft_agent_heap_bytes", "Bytes of live heap objects.", float64(mem.HeapAlloc)},
		{"weft_agent_goroutines", "Goroutines.", float64(runtime.NumGoroutine())},
	}
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// families are what is counted by kind. No label is an address, or a name but for those
// of a bounded number of peers.
func (a *agent) families() []family {
	c, t, r := a.dials.Counts(), a.uplink.TunnelCounts(), a.pairs.relay.Stats()
	states := map[string]float64{}
	out := a.pairs.families()
	for _, tunnel := range a.uplink.Tunnels() {
		states[string(tunnel.State)]++
	}
	return append(out, []family{
		{"weft_agent_tunnels", "Servers, by how it stands with the tunnel to them.", "state", states},
		{"weft_agent_tunnel_tries_total", "Tunnels to servers that were opened, or not.", "result", map[string]float64{"opened": float64(t.Opened), "failed": float64(t.Failed)}},
		{"weft_agent_tunnel_ends_total", "Tunnels to servers that ended, by reason.", "reason", floats(t.Ended)},
		{"weft_agent_egress_dials_total", "Dials that servers asked for, by how they ended.", "result", floats(c.Dials)},
		{"weft_agent_egress_dial_seconds_total", "Seconds from a dial's request to its end, by how it ended.", "result", c.DialSeconds},
		{"weft_agent_egress_denials_total", "Dials that a rule refused, by the rule.", "rule", floats(c.Denials)},
		{"weft_agent_relay_bytes_total", "Bytes of WireGuard's packets over relays: of this node's pairs, sent and received, and carried for others.", "way", map[string]float64{
			"sent": float64(r.BytesOut), "received": float64(r.BytesIn), "carried": float64(r.Carried),
		}},
		{"weft_agent_relay_dropped_total", "What relays did not take: packets for which there was none, or that a socket did not take; frames that waited too long, that break a rule, or of a pair that sends too much.", "reason", map[string]float64{
			"nowhere": float64(r.Nowhere), "socket": float64(r.Dropped), "queue": float64(r.Queued), "broken": float64(r.Strays), "rate": float64(r.Floods),
		}},
		{"weft_agent_pairs", "Peers that choose their way, by the rung on which they are sent to; down: nothing answers there.", "rung", a.pairs.rungs()},
		{"weft_agent_probes_refused_total", "Packets of probes that came to nothing, by what became of them.", "result", a.pairs.probes()},
		{"weft_agent_egress_bytes_total", "Bytes of streams that have ended, to their targets and from them.", "direction", map[string]float64{"to": float64(c.BytesForth), "from": float64(c.BytesBack)}},
	}...)
}

func floats[K ~string](in map[K]uint64) map[string]float64 {
	out := make(map[string]float64, len(in))
	for k, v := range in {
		out[string(k)] = float64(v)
	}
	return out
}

func exposeFamilies(w io.Writer, families []family) {
	for _, f := range families {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, kindOf(f.name))
		for _, value := range slices.Sorted(maps.Keys(f.values)) {
			fmt.Fprintf(w, "%s{%s=%q} %g\n", f.name, f.label, value, f.values[value])
		}
	}
}

func kindOf(name string) string {
	if strings.HasSuffix(name, "_total") {
		return "counter"
	}
	return "gauge"
}

func expose(w io.Writer, version string, gauges []gauge) {
	fmt.Fprintf(w, "# HELP weft_agent_build_info The release, in a label; the value is always 1.\n# TYPE weft_agent_build_info gauge\nweft_agent_build_info{version=%q} 1\n", version)
	for _, g := range gauges {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s %g\n", g.name, g.help, g.name, kindOf(g.name), g.name, g.value)
	}
}

func (a *agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		expose(w, a.cfg.Version, a.gauges())
		exposeFamilies(w, a.families())
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		a.problems() // every room answers
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !a.inPlace() {
			http.Error(w, "no intent with a lease has been applied yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// serveMetrics answers until ctx ends. That the port is taken is no reason to
// leave the node alone.
func (a *agent) serveMetrics(ctx context.Context) error {
	if a.cfg.MetricsListen == "" {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", a.cfg.MetricsListen)
	if err != nil && ctx.Err() == nil {
		a.log.Error("metrics not served", note.Err, err, note.Do, "free the port, or choose another with --metrics-listen")
	}
	if err != nil {
		return nil
	}
	s := &http.Server{Handler: a.handler(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("agent: metrics: %w", err)
	}
	return nil
}
