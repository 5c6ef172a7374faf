package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func TestAlike(t *testing.T) {
	var problems []*weftv1.Problem
	for _, n := range []string{"n1", "n2", "n3", "n4"} {
		problems = append(problems, &weftv1.Problem{Node: n, Subject: "peers n9", Cause: "twice", Remedy: "change it"})
	}
	problems = append(problems, &weftv1.Problem{Node: "n1", Subject: "peers n9", Cause: "another"}, &weftv1.Problem{Node: "n2", Subject: "peers n9", Cause: "another"})
	var got []string
	for _, same := range alike(problems) {
		got = append(got, whoSay(same)+": "+same[0].GetCause())
	}
	if d := cmp.Diff([]string{"n1, n2 and 2 more: twice", "n1, n2: another"}, got); d != "" {
		t.Error(d)
	}
}
