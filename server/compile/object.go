package compile

import (
	"strings"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/store"
)

// Audience is who is told of an object. The zero value is all nodes.
type Audience struct {
	node string
}

// ToNode is the audience of one node.
func ToNode(name string) Audience { return Audience{node: name} }

// Has tells whether a node belongs to the audience.
func (a Audience) Has(node string) bool { return a.node == "" || a.node == node }

// Limited tells whether an audience is not all nodes.
func (a Audience) Limited() bool { return a.node != "" }

// Object is one object with those who are told of it.
type Object struct {
	intent.Object
	Audience Audience
}

// Change is an object that has another value, or is gone; then it has no Value.
type Change struct {
	Object
	Gone bool
}

// Problem is a stored object that cannot be compiled.
type Problem struct {
	Key   string // in the store
	Cause string
	Do    string
}

// All compiles everything at once, sorted by collection and key. An object's
// Revision is that of the youngest entry that it is made of.
func All(entries []store.Entry) ([]intent.Object, []Problem) {
	c := New()
	events := make([]store.Event, 0, len(entries))
	for _, e := range entries {
		events = append(events, store.Event{Entry: e})
	}
	c.Apply(events)
	return c.Objects(), c.Problems()
}

// compare orders objects by collection and key: cluster comes before peers.
func compare(a, b intent.Object) int {
	if d := strings.Compare(a.Collection, b.Collection); d != 0 {
		return d
	}
	return strings.Compare(a.Key, b.Key)
}
