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
	problems, err := promlint.New(bytes.NewReader(b.Bytes())).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	for _, want := range []string{`weft_agent_build_info{version="0.3.1"} 1`, "# TYPE weft_agent_heals_total counter", "# TYPE weft_agent_peers gauge"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s", want)
		}
	}
}
