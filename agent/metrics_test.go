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
	conventions(t, b.String())
	for _, want := range []string{`weft_agent_build_info{version="0.3.1"} 1`, "# TYPE weft_agent_heals_total counter", "# TYPE weft_agent_peers gauge"} {
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
