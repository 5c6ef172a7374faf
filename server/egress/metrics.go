package egress

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Bounds on what a label can be: policies have names of people's choice.
const (
	maxRules  = 64
	otherRule = "other"
)

// counters count dials. They are safe for concurrent use.
type counters struct {
	opening *prometheus.HistogramVec
	lookups *prometheus.CounterVec
	denials *prometheus.CounterVec

	mu    sync.Mutex
	rules map[string]struct{}
}

// newCounters begins with what may happen at nought, so that it is an increase when
// it does; not with results, which have many lines each.
func newCounters() *counters {
	c := &counters{
		opening: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "weft_server_egress_open_seconds", Help: "Time from a request until the target has accepted, or until it was refused, by result.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"result"}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weft_server_egress_lookups_total", Help: "Look-ups of who dials, by kind: here, hop (over another server), remembered, asked, none, direct.",
		}, []string{"kind"}),
		denials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weft_server_egress_denials_total", Help: "Dials that a rule refused, by rule; the 65th rule and those after it are other.",
		}, []string{"rule"}),
		rules: map[string]struct{}{},
	}
	for _, kind := range []string{"here", "hop", "remembered", "asked", "none", "direct"} {
		c.lookups.WithLabelValues(kind)
	}
	c.denials.WithLabelValues("default")
	return c
}

// resultOpen is the result of a dial whose target has accepted.
const resultOpen = "Open"

// opened counts a dial that has ended in a connection (nil) or a refusal.
func (c *counters) opened(r *Refusal, took time.Duration) {
	result := resultOpen
	if r != nil {
		result = string(r.Code)
	}
	c.opening.WithLabelValues(result).Observe(took.Seconds())
}

func (c *counters) lookedUp(kind string) { c.lookups.WithLabelValues(kind).Inc() }

// denied counts a refusal, by its rule without the name of a policy.
func (c *counters) denied(rule string) {
	rule, _, _ = strings.Cut(rule, "/")
	c.mu.Lock()
	if _, known := c.rules[rule]; !known && len(c.rules) >= maxRules {
		rule = otherRule
	} else {
		c.rules[rule] = struct{}{}
	}
	c.mu.Unlock()
	c.denials.WithLabelValues(rule).Inc()
}

// Describe implements prometheus.Collector.
func (g *Gate) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(g, ch) }

// Collect implements prometheus.Collector: what is counted, and how the tunnels
// stand now. No label is an address, nor a node.
func (g *Gate) Collect(ch chan<- prometheus.Metric) {
	g.counters.opening.Collect(ch)
	g.counters.lookups.Collect(ch)
	g.counters.denials.Collect(ch)
	total, _, back := g.sessions.counted()
	states := map[string]int{Ready: 0, Draining: 0}
	var trips []float64
	sum := 0.0
	for _, l := range g.sessions.list() {
		states[l.state()]++
		if trip := l.link.Figures().RoundTrip.Seconds(); trip > 0 {
			trips, sum = append(trips, trip), sum+trip
		}
	}
	for _, state := range slices.Sorted(maps.Keys(states)) {
		gauge(ch, "sessions", "Agents' tunnels to this server, by state.", float64(states[state]), "state", state)
	}
	ch <- prometheus.MustNewConstSummary(desc("round_trip_seconds", "Last round trips of the tunnels there are: quantiles over tunnels, not over time."), uint64(len(trips)), sum, quantiles(trips))
	gauge(ch, "streams", "Streams that are open in tunnels.", float64(total.Streams))
	gauge(ch, "dials", "Dials that are going on.", float64(g.dialling()))
	gauge(ch, "buffered_bytes", "Bytes that came through tunnels and are not read yet, or wait to be sent.", float64(total.Buffered))
	count(ch, "streams_total", "Streams that were opened in tunnels.", float64(total.Opened))
	count(ch, "bytes_total", "Bytes of streams in tunnels, by direction as seen from this server.", float64(total.Sent), "direction", "sent")
	count(ch, "bytes_total", "Bytes of streams in tunnels, by direction as seen from this server.", float64(total.Received), "direction", "received")
	count(ch, "window_stalls_total", "How often a stream waited for the agent's end to take what was sent.", float64(total.Stalls))
	for _, why := range reasons {
		back[why] += 0
	}
	for _, why := range slices.Sorted(maps.Keys(back)) {
		count(ch, "reconnects_total", "Agents that came again, by why their last tunnel ended.", float64(back[why]), "reason", why)
	}
}

// quantiles are the median, the 99th percentile and the maximum of some values.
func quantiles(values []float64) map[float64]float64 {
	if len(values) == 0 {
		return nil
	}
	slices.Sort(values)
	out := map[float64]float64{}
	for _, q := range []float64{.5, .99, 1} {
		out[q] = values[int(q*float64(len(values)-1))]
	}
	return out
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	var names []string
	for i := 0; i < len(labels); i += 2 {
		names = append(names, labels[i])
	}
	return prometheus.NewDesc("weft_server_egress_"+name, help, names, nil)
}

// gauge sends a value; labels are a name and a value.
func gauge(ch chan<- prometheus.Metric, name, help string, v float64, labels ...string) {
	send(ch, prometheus.GaugeValue, name, help, v, labels)
}

func count(ch chan<- prometheus.Metric, name, help string, v float64, labels ...string) {
	send(ch, prometheus.CounterValue, name, help, v, labels)
}

func send(ch chan<- prometheus.Metric, of prometheus.ValueType, name, help string, v float64, labels []string) {
	var values []string
	for i := 1; i < len(labels); i += 2 {
		values = append(values, labels[i])
	}
	ch <- prometheus.MustNewConstMetric(desc(name, help, labels...), of, v, values...)
}
