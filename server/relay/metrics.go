package relay

import "github.com/prometheus/client_golang/prometheus"

// Describe implements prometheus.Collector.
func (r *Relay) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(r, ch) }

// Collect implements prometheus.Collector. No label is a node.
func (r *Relay) Collect(ch chan<- prometheus.Metric) {
	r.mu.RLock()
	sessions := len(r.all)
	queue := r.stats.queue.Load()
	for s := range r.all {
		queue += s.conn.Stats().DatagramsDropped
	}
	r.mu.RUnlock()
	send(ch, prometheus.GaugeValue, "sessions", "Agents' connections to this server's relay, those included that a newer one has replaced.", float64(sessions))
	c := &r.stats
	send(ch, prometheus.CounterValue, "bytes_total", "Bytes of packets that were carried.", float64(c.bytes.Load()))
	for _, d := range []struct {
		reason string
		n      uint64
	}{{"absent", c.absent.Load()}, {"broken", c.broken.Load()}, {"queue", queue}, {"rate", c.rate.Load()}} {
		send(ch, prometheus.CounterValue, "dropped_total", "Frames that were not carried: nobody is there, they break a rule, they waited too long, the pair sends too much.", float64(d.n), "reason", d.reason)
	}
}

// send sends one measure; labels are a name and a value.
func send(ch chan<- prometheus.Metric, of prometheus.ValueType, name, help string, v float64, labels ...string) {
	var names, values []string
	for i := 0; i < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("weft_server_relay_"+name, help, names, nil), of, v, values...)
}
