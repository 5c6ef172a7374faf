package server

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/push"
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

func TestMetricsKeepToTheConventions(t *testing.T) {
	w := httptest.NewRecorder()
	metrics(some{}, some{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text := w.Body.String()
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
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(text, "\nweft_"); n > 40 {
		t.Errorf("%d lines for three nodes: no figure has a line a node", n)
	}
}
