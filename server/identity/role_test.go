package identity

import (
	"fmt"
	"strings"
	"testing"

	_ "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// onNode are services of the agent's socket, which the folder guards.
var onNode = []string{"Agent"}

// Every method of every service of the wire has a rule: who adds one decides who
// may call it.
func TestEveryMethodHasARule(t *testing.T) {
	protoregistry.GlobalFiles.RangeFilesByPackage("weft.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			if string(s.Name()) == onNode[0] {
				continue
			}
			for j := range s.Methods().Len() {
				method := fmt.Sprintf("/%s/%s", s.FullName(), s.Methods().Get(j).Name())
				if _, ok := leastRole(method); !ok {
					t.Errorf("%s has no rule; add one to rules in role.go", method)
				}
			}
		}
		return true
	})
}

func TestRules(t *testing.T) {
	for _, line := range strings.Split(strings.TrimSpace(`
		/weft.v1.Resources/Get            viewer    viewer operator admin
		/weft.v1.Resources/Apply          operator  operator admin
		/weft.v1.Resources/Plan           viewer    viewer operator admin
		/weft.v1.Audit/List               operator  operator admin
		/weft.v1.Tokens/Create            admin     admin
		/weft.v1.Tokens/List              viewer    viewer operator admin
		/weft.v1.Users/Renew              viewer    viewer operator admin
		/weft.v1.Members/Acquire          server    server
		/weft.v1.Members/TakeOut          server    server
		/weft.v1.NodeSync/Sync            node      node
		/weft.v1.Egress/WhoServes         viewer    viewer operator admin
		/weft.v1.Egress/ListDials         operator  operator admin
		/weft.v1.Egress/Tunnel            node      node
		/weft.v1.Mesh/Relay               node      node
		/weft.v1.Egress/ListHeld          server    server
		/weft.v1.Egress/Hop               server    server
		/weft.v1.Join/Join                -         viewer operator admin node server dialer
		/weft.v1.Unheard/Of               admin     admin
		/weft.v1.Egress/Dial              dialer    dialer operator admin server
		/weft.v1.Egress/ListTunnels       viewer    viewer operator admin
		/grpc.health.v1.Health/Check      -         viewer operator admin node server dialer
	`), "\n") {
		words := strings.Fields(line)
		least, _ := leastRole(words[0])
		if strings.ReplaceAll(words[1], "-", "") != string(least) {
			t.Errorf("%s: least role %q, want %s", words[0], least, words[1])
		}
		for _, r := range []Role{RoleViewer, RoleOperator, RoleAdmin, RoleNode, RoleServer, RoleDialer} {
			if want := strings.Contains(strings.Join(words[2:], " "), string(r)); r.may(least) != want {
				t.Errorf("%s %s: may %v, want %v", r, words[0], r.may(least), want)
			}
		}
	}
}
