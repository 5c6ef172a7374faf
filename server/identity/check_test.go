package identity

import (
	"strings"
	"testing"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc/codes"
)

// TestCheck: what a token is worth to a node, without spending it.
func TestCheck(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	once := f.newToken(TokenSpec{Uses: 1})
	named := f.newToken(TokenSpec{Nodes: []string{"n7"}})
	f.mustJoin(newMachine(t, "n1"), f.agentToken())
	wrong := once
	wrong.Secret = note.Secret(strings.Repeat("a", 32))
	before := f.store.String()
	for _, c := range []struct {
		what, token, node string
		labels            map[string]string
		code              codes.Code
		text              string
	}{
		{"OK", once.Reveal(), "n2", nil, codes.OK, ""},
		{"OK again", once.Reveal(), "n3", map[string]string{"site": "fra"}, codes.OK, ""},
		{"another secret", wrong.Reveal(), "n2", nil, codes.PermissionDenied, "the token is not known"},
		{"for another name", named.Reveal(), "n2", nil, codes.PermissionDenied, "is not for node n2"},
		{"a name that is taken", once.Reveal(), "n1", nil, codes.AlreadyExists, "weft token create --node n1 --replace"},
		{"a bad name", once.Reveal(), "N_1", nil, codes.InvalidArgument, "--node-name"},
		{"bad labels", once.Reveal(), "n2", map[string]string{"bad key": "x"}, codes.InvalidArgument, "--node-label"},
		{"no token", "weft1.x", "n2", nil, codes.InvalidArgument, "token"},
	} {
		_, err := f.Check(t.Context(), &weftv1.JoinCheckRequest{Token: c.token, Node: c.node, Labels: c.labels})
		wantCode(t, c.what, err, c.code, c.text)
	}
	if after := f.store.String(); after != before {
		t.Errorf("the store was written to:\n%s\nwas\n%s", after, before)
	}
	f.mustJoin(newMachine(t, "n2"), once)
	_, err := f.Check(t.Context(), &weftv1.JoinCheckRequest{Token: once.Reveal(), Node: "n3"})
	wantCode(t, "used up", err, codes.PermissionDenied, "is used up (1 of 1)")
}
