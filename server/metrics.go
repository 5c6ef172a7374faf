package server

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/push"
)

// hubStatus is what metrics and health ask.
type hubStatus interface {
	Revision() int64
	Nodes() []push.Status
}

// journalStatus is what metrics ask of the journal.
type journalStatus interface {
	Waiting() (events, acts, lost int)
}

// roomStatus is what metrics ask of the servers' room.
type roomStatus interface {
	Servers() []members.Status
	Leader() (members.Server, bool)
	Silence() (members.Silence, bool)
	Votes() (up, voters int)
}

// sources are what metrics are read from.
type sources struct {
	hub     hubStatus
	journal journalStatus
	room    roomStatus
	ends    func() map[string]time.Time // of certificates: ca, server, user (the first of them)
	backups func(ctx context.Context) (*weftv1.BackupStatus, error)
	disks   map[string]string // folders, by what is in them
	egress  prometheus.Collector
	relay   prometheus.Collector
	echo    prometheus.Collector
}

// metrics answers /metrics, /livez and /readyz.
func metrics(from sources) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		nodes{from.hub},
		pages{from.journal},
		others{from.room},
		kept{from},
		from.egress,
		from.relay,
		from.echo,
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if from.hub.Revision() == 0 {
			http.Error(w, "the store is not read yet", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
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

// others are the figures of the servers, as this one sees them.
type others struct{ room roomStatus }

// Describe implements prometheus.Collector.
func (o others) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(o, ch) }

// Collect implements prometheus.Collector.
func (o others) Collect(ch chan<- prometheus.Metric) {
	counts := map[string]int{}
	for _, s := range members.States {
		counts[string(s)] = 0 // so that a state that comes is an increase
	}
	for _, s := range o.room.Servers() {
		counts[string(s.State)]++
	}
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		measure(ch, "servers", "Servers of the fabric by state, as this one sees them.", float64(counts[state]), "state", state)
	}
	leader, self := o.room.Leader()
	measure(ch, "leading", "1 while this server leads.", truth(self))
	measure(ch, "leader_known", "1 while a server leads.", truth(leader.Name != ""))
	silence, silent := o.room.Silence()
	lasts := 0.0
	if silent {
		lasts = time.Since(silence.Since).Seconds()
	}
	measure(ch, "store_silent_seconds", "For how long the store has answered nobody; 0 while it answers.", lasts)
	if up, voters := o.room.Votes(); voters > 0 {
		measure(ch, "etcd_voters", "Members of the embedded etcd that vote.", float64(voters))
		measure(ch, "etcd_voters_up", "Those of them whose servers answer.", float64(up))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// measure sends one gauge; labels are a name and a value.
func measure(ch chan<- prometheus.Metric, name, help string, v float64, labels ...string) {
	var fixed prometheus.Labels
	if len(labels) == 2 {
		fixed = prometheus.Labels{labels[0]: labels[1]}
	}
	ch <- prometheus.MustNewConstMetric(desc(name, help, fixed), prometheus.GaugeValue, v)
}

// kept are the figures of what is kept: backups, certificates, disks.
type kept struct{ sources }

// Describe implements prometheus.Collector. What there is to measure differs.
func (kept) Describe(chan<- *prometheus.Desc) {}

// readWithin bounds what metrics read from the store.
const readWithin = time.Second

// Collect implements prometheus.Collector.
func (k kept) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	if b, err := k.backups(ctx); err == nil { // without the store nothing is said of them
		measure(ch, "backup_interval_seconds", "Between backups on schedule; 0: there is none.", float64(b.GetIntervalSeconds()))
		measure(ch, "backup_last_timestamp_seconds", "When the last backup was made, Unix time; 0: never.", float64(b.GetLastUnix()))
		measure(ch, "backup_problems", "Problems of backups that status lists: the last try failed, or the last is too old.", float64(len(b.GetProblems())))
	}
	ends := k.ends()
	for _, holder := range slices.Sorted(maps.Keys(ends)) {
		if !ends[holder].IsZero() {
			measure(ch, "certificate_end_timestamp_seconds", "When a certificate ends, Unix time: the CA's, this server's, of users' the first.", float64(ends[holder].Unix()), "holder", holder)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(k.disks)) {
		if free, err := members.FreeBytes(k.disks[name]); err == nil {
			measure(ch, "disk_free_bytes", "Room on the disk of a folder.", float64(free), "folder", name)
		}
	}
}

// ends are the ends of certificates, by whose they are.
func (r *rooms) ends() map[string]time.Time {
	out := map[string]time.Time{"ca": r.auth.Ends()}
	if first := r.auth.FirstToEnd(); first != nil {
		out["user"] = time.Unix(first.GetEndsUnix(), 0)
	}
	if cert, err := r.auth.TLS().GetCertificate(nil); err == nil {
		out["server"] = cert.Leaf.NotAfter
	}
	return out
}

// sources are where this server's metrics come from.
func (r *rooms) sources() sources {
	return sources{
		hub: r.hub, journal: r.journal, room: r.room, ends: r.ends, backups: r.backups.Report, egress: r.gate, relay: r.relay, echo: r.echo,
		disks: map[string]string{"data": r.DataDir, "backups": r.site.Backup.Dir},
	}
}
