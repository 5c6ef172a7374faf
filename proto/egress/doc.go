// Package egress is who may dial what through a node: the request that asks for
// it, and the rules that answer, as values that server and agent both evaluate.
//
// The server checks with what it knows before it opens a stream of a tunnel; the
// agent checks again, after it has resolved the name, each address that it would
// dial. A name is therefore judged twice: by itself, which only a deny can end, and
// by the addresses behind it.
//
// Without any policy a node is dialled at its own addresses on declared host ports,
// at addresses of its own lease and of prefixes that it announces, and at service
// addresses. An EgressPolicy widens or narrows that; the node's own file bounds it.
//
// Invariants: it is pure. What the node's file does not allow is refused, whatever
// else says; a deny wins over every allow; an address that means something to every
// kernel, or to a cloud, is refused unless a policy and the node's file both name
// that address itself. A host name in a rule opens neither such an address nor one
// of the node's own: who answers for a name is not who wrote the rule.
//
// It resolves no name, reads no file and dials nothing.
package egress
