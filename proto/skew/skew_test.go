package skew

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		server, agent uint32
		want          Verdict
	}{
		{1, 0, Served}, // two releases without a number
		{1, 1, Served},
		{1, 2, Served}, // an agent upgraded first
		{1, 3, TooNew},
		{2, 0, Served}, // an agent of before there were numbers
		{2, 1, Served},
		{2, 3, Served},
		{2, 4, TooNew},
		{3, 0, Served},
		{3, 1, Served},
		{4, 0, TooOld},
		{4, 1, TooOld},
		{4, 2, Served},
		{4, 3, Served},
		{4, 4, Served},
		{4, 5, Served},
		{4, 6, TooNew},
		{0, 2, Served}, // a server without a number
		{0, 3, TooNew},
		{2, math.MaxUint32, TooNew},
		{math.MaxUint32 - 1, 1, TooOld},
	} {
		if got := Judge(c.server, c.agent); got != c.want {
			t.Errorf("server %d, agent %d: %d, want %d", c.server, c.agent, got, c.want)
		}
	}
}

// Servers upgraded one release at a time, agents following at most two behind,
// meet no refusal, whatever the order; nor does one step back of the servers.
func TestAnUpgradeInOrderIsNeverRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		server, agent := uint32(1), uint32(1)
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"server", "agent", "back"}).Draw(t, "step") {
			case "server":
				if server-agent < behind || server < agent {
					server++
				}
			case "agent":
				if agent < server {
					agent++
				}
			case "back":
				if server == agent && server > 1 {
					server--
				}
			}
			if v := Judge(server, agent); v != Served {
				t.Fatalf("server %d, agent %d: %d", server, agent, v)
			}
		}
	})
}

func TestExplain(t *testing.T) {
	cause, remedy := TooNew.Explain(2, "0.2.0", 5, "0.5.0")
	if want := "agent of release 0.5.0 (protocol 5) is too new for the server of release 0.2.0, which serves protocols 1 to 3"; cause != want {
		t.Errorf("%q", cause)
	}
	if want := "upgrade weft-server first, or put the earlier weft-agent back; the node's data path stays as it is meanwhile"; remedy != want {
		t.Errorf("%q", remedy)
	}
	if cause, _ := TooOld.Explain(4, "0.4.0", 0, "0.1.0"); cause != "agent of release 0.1.0 (protocol 1) is too old for the server of release 0.4.0, which serves protocols 2 to 5" {
		t.Errorf("%q", cause)
	}
	if cause, remedy := Served.Explain(1, "", 1, ""); cause+remedy != "" {
		t.Errorf("%q %q", cause, remedy)
	}
}
