package agent

import (
	"bytes"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func TestExposedTextKeepsToTheConventions(t *testing.T) {
	var b bytes.Buffer
	expose(&b, "0.3.1", []gauge{{"weft_agent_peers", "Nodes of the fabric.", 3}, {"weft_agent_heals_total", "Objects put back.", 4}})
	exposeFamilies(&b, []family{{"weft_agent_egress_dials_total", "Dials, by how they ended.", "result", map[string]float64{"denied": 2, "connected": 7}}})
	conventions(t, b.String())
	for _, want := range []string{`weft_agent_build_info{version="0.3.1"} 1`, "# TYPE weft_agent_heals_total counter", "# TYPE weft_agent_peers gauge", "# TYPE weft_agent_egress_dials_total counter\nweft_agent_egress_dials_total{result=\"connected\"} 7\nweft_agent_egress_dials_total{result=\"denied\"} 2\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s", want)
		}
	}
}

// conventions are those of Prometheus; TestAgentsOnTheRealKernel holds all that an
// agent answers against them.
func conventions(t *testing.T, text string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
