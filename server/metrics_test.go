package server

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/echo"
	"github.com/weft-net/weft/server/egress"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/push"
	"github.com/weft-net/weft/server/relay"
)

// some is a hub and a journal with something to count.
type some struct{}

func (some) Revision() int64                   { return 7 }
func (some) Waiting() (events, acts, lost int) { return 1, 2, 3 }
func (some) Nodes() []push.Status {
	return []push.Status{
		{Node: "n1", Connected: true, Applied: 7, Problems: []kind.Problem{{Subject: "x"}}},
		{Node: "n2", Connected: true, Applied: 6},
		{Node: "n3"},
	}
}

func (some) Servers() []members.Status {
	return []members.Status{{State: members.Ready}, {State: members.Ready}, {State: members.Lost}}
}
func (some) Leader() (members.Server, bool) { return members.Server{Name: "s2"}, false }
func (some) Silence() (members.Silence, bool) {
	return members.Silence{}, false
}
func (some) Votes() (up, voters int) { return 2, 3 }

// scrape is what a server with all that could be measured tells.
func scrape(t *testing.T) string {
	t.Helper()
	w := httptest.NewRecorder()
	metrics(sources{
		hub: some{}, journal: some{}, room: some{},
		ends: func() map[string]time.Time {
			return map[string]time.Time{"ca": time.Unix(3, 0), "server": time.Unix(2, 0), "user": time.Unix(1, 0), "none": {}}
		},
		backups: func(context.Context) (*weftv1.BackupStatus, error) {
			return &weftv1.BackupStatus{IntervalSeconds: 43200, LastUnix: 1700000000, Problems: []*weftv1.Problem{{}}}, nil
		},
		disks:  map[string]string{"data": t.TempDir(), "backups": "/none/such"},
		egress: egress.New(egress.Config{}),
		relay:  relay.New(relay.Config{}),
		echo:   echo.Open(t.Context(), echo.Config{Host: "192.0.2.1", Log: slog.New(slog.DiscardHandler)}), // no address of this machine: it listens nowhere
	}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestMetricsKeepToTheConventions(t *testing.T) {
	text := scrape(t)
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "weft_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, want := range []string{
		"weft_server_build_info{version=", "weft_server_nodes_connected 2", "weft_server_nodes_behind 1",
		"weft_server_node_problems 1", "weft_server_journal_lost_events_total 3", "weft_server_journal_waiting_records 2",
		`weft_server_servers{state="Ready"} 2`, `weft_server_servers{state="Lost"} 1`, `weft_server_servers{state="Unreachable"} 0`,
		"weft_server_leading 0", "weft_server_leader_known 1", "weft_server_store_silent_seconds 0", "weft_server_etcd_voters 3", "weft_server_etcd_voters_up 2",
		"weft_server_backup_interval_seconds 43200", "weft_server_backup_last_timestamp_seconds 1.7e+09", "weft_server_backup_problems 1",
		`weft_server_certificate_end_timestamp_seconds{holder="ca"} 3`, `{holder="server"} 2`, `{holder="user"} 1`, `weft_server_disk_free_bytes{folder="data"}`,
		"weft_server_relay_sessions 0", "weft_server_relay_bytes_total 0", `weft_server_relay_dropped_total{reason="queue"} 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(text, "\nweft_"); n > 60 {
		t.Errorf("%d lines for three nodes: no figure has a line a node", n)
	}
}

// TestMonitoringAsksForWhatThereIs: each figure and label that rules and dashboard
// name is one that a server or an agent tells; of agents, by the text of their room.
func TestMonitoringAsksForWhatThereIs(t *testing.T) {
	text := scrape(t)
	agent, err := os.ReadFile("../agent/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`weft_(?:server|agent)_[a-z_]+`)
	label := regexp.MustCompile(`(weft_server_[a-z_]+)\{([a-z]+)=~?\\?"([A-Za-z|]+)\\?"\}`)
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		b, err := os.ReadFile(filepath.Join("../deploy/monitoring", file))
		if err != nil {
			t.Fatal(err)
		}
		names := name.FindAllString(string(b), -1)
		if len(names) < 8 {
			t.Errorf("%s names only %v", file, names)
		}
		for _, n := range names {
			told := strings.HasPrefix(n, "weft_server_") && regexp.MustCompile(`(?m)^`+n+`[ {]`).MatchString(text) ||
				strings.HasPrefix(n, "weft_agent_") && strings.Contains(string(agent), `"`+n+`"`)
			if !told {
				t.Errorf("%s: nobody tells %s", file, n)
			}
		}
		for _, m := range label.FindAllStringSubmatch(string(b), -1) {
			for value := range strings.SplitSeq(m[3], "|") {
				if !strings.Contains(text, m[1]+"{"+m[2]+`="`+value+`"}`) && value != "backups" {
					t.Errorf("%s: no %s with %s %s", file, m[1], m[2], value)
				}
			}
		}
	}
}
