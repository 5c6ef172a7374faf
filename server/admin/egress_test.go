package admin

import (
	"strings"
	"testing"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
)

// A policy is shown with whom it is of, follows a node to its new name, and is
// deleted like any object.
func TestEgressPolicy(t *testing.T) {
	f := newFabric(t)
	f.join("n1", "n2")
	if _, err := f.Apply(t.Context(), &weftv1.ApplyRequest{Items: items(t, `
kind: EgressPolicy
metadata: {name: web}
spec:
  nodes: [n1]
  roles: [dialer]
  onlyListed: true
  allow:
  - {cidr: 10.9.0.0/16, ports: [80, 8000-8100]}
  deny:
  - {host: "*.internal"}
`)}); err != nil {
		t.Fatal(err)
	}
	get := func() string {
		t.Helper()
		out, err := f.Get(t.Context(), &weftv1.GetRequest{Kind: "egresspolicies", Name: "web"})
		if err != nil {
			return said(err)
		}
		return spec(t, out.GetItem().GetSpec()) + spec(t, out.GetItem().GetStatus())
	}
	for _, want := range []string{`"nodes":"1 of 2"`, `"who":["role:dialer"]`, `"rules":"1 allow, 1 deny, only listed"`, `"allow":["cidr 10.9.0.0/16 ports 80 8000-8100"]`, `"deny":["host *.internal"]`} {
		if got := get(); !strings.Contains(got, want) {
			t.Errorf("it is shown as %s, want %s", got, want)
		}
	}
	if _, err := weftv1.NewNodesClient(f.conn).Rename(t.Context(), &weftv1.NodesRenameRequest{Node: "n1", Name: "n3"}); err != nil {
		t.Fatal(err)
	}
	if got := get(); !strings.Contains(got, `"nodes":["n3"]`) {
		t.Errorf("n1 is n3 now, and the policy is %s", got)
	}
	list, err := f.List(t.Context(), &weftv1.ListRequest{Kind: kind.ClusterConfig})
	if err != nil || len(list.GetItems()) != 1 {
		t.Errorf("ClusterConfigs: %v, %v", list, err)
	}
	if _, err := f.Delete(t.Context(), &weftv1.DeleteRequest{Items: []*weftv1.GetRequest{{Kind: "egp", Name: "web"}}}); err != nil {
		t.Fatal(err)
	}
	if got := get(); !strings.Contains(got, "there is no EgressPolicy/web") {
		t.Errorf("it was deleted, and is %s", got)
	}
}
