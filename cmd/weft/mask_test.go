package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/types/known/structpb"
)

func TestOtherMasks(t *testing.T) {
	spec, err := structpb.NewStruct(map[string]any{"nodeCIDRMaskSizeIPv4": 24, "nodeCIDRMaskSizeIPv6": 64})
	if err != nil {
		t.Fatal(err)
	}
	got := otherMasks(spec, []string{"10.42.7.0/24", "10.42.8.0/25", "fd42::/64"})
	if d := cmp.Diff([]string{"note: 10.42.8.0/25 is a /25; other nodes get a /24 (nodeCIDRMaskSizeIPv4)"}, got); d != "" {
		t.Error(d)
	}
	if got := otherMasks(nil, []string{"10.42.8.0/25"}); got != nil {
		t.Errorf("without a configuration: %v", got)
	}
}

func TestExplainStatus(t *testing.T) {
	var out strings.Builder
	c := &cli{out: &out}
	if err := c.explain(&weftv1.Kind{Name: "Node"}, "status"); err != nil || !strings.Contains(out.String(), "nobody writes it") {
		t.Errorf("%v, %s", err, out.String())
	}
}
