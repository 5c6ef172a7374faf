package main

import (
	"testing"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func TestAnOutcomeIsOneLine(t *testing.T) {
	r := &weftv1.AuditRecord{Outcome: "FailedPrecondition", Message: "leases are left out\n  n17 10.42.17.0/24\n  n18 10.42.18.0/24\naccepted: 10.42.0.0/16\n", Count: 2}
	const want = "FailedPrecondition: leases are left out; n17 10.42.17.0/24; n18 10.42.18.0/24; accepted: 10.42.0.0/16 (2 times)"
	if got := outcomeText(r); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
