package main

import (
	"strings"
	"testing"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/types/known/structpb"
)

// An endpoint is found by its pod, as long as there is one of that pod.
func TestOfPod(t *testing.T) {
	endpoint := func(name, pod string) *weftv1.Resource {
		spec, err := structpb.NewStruct(map[string]any{"pod": pod})
		if err != nil {
			t.Fatal(err)
		}
		return &weftv1.Resource{Metadata: &weftv1.Metadata{Name: name}, Spec: spec}
	}
	items := []*weftv1.Resource{endpoint("n1.c1.eth0", "web"), endpoint("n1.c2.eth0", "db"), endpoint("n2.c3.eth0", "db")}
	for _, c := range []struct{ kind, pod, want string }{
		{"Endpoint", "web", "n1.c1.eth0"},
		{"Endpoint", "db", "2 endpoints are of a pod \"db\": name one of n1.c2.eth0, n2.c3.eth0"},
		{"Endpoint", "none", "there is no Endpoint \"none\""},
		{"Node", "web", "there is no Node \"web\""},
	} {
		r, err := ofPod(target{kind: &weftv1.Kind{Name: c.kind}}, items, c.pod)
		got := r.GetMetadata().GetName()
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %s: %s, want %s", c.kind, c.pod, got, c.want)
		}
	}
}
