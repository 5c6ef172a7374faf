package overlay

import (
	"slices"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// Cache plans a node anew only when something that Objects reads has changed;
// else it gives the very same slices again, which their reader may take as a
// sign that nothing is new. They must not be written to.
//
// An intent is known by epoch, compile version, revision and number of peers:
// no two intents of one node agree in all of these. The zero value is ready;
// one goroutine at a time may use it.
type Cache struct {
	last     Node
	filled   bool
	objects  []datapath.Object
	problems []intent.Problem
}

// Objects is the package's Objects, remembered.
func (c *Cache) Objects(n Node) ([]datapath.Object, []intent.Problem) {
	if !c.filled || !same(c.last, n) {
		c.objects, c.problems = Objects(n)
		n.Underlay, n.AcceptRA = slices.Clone(n.Underlay), slices.Clone(n.AcceptRA)
		c.last, c.filled = n, true
	}
	return c.objects, c.problems
}

func same(a, b Node) bool {
	return a.Intent.Name == b.Intent.Name && a.Intent.Epoch == b.Intent.Epoch &&
		a.Intent.Compile == b.Intent.Compile && a.Intent.Revision == b.Intent.Revision &&
		len(a.Intent.Peers) == len(b.Intent.Peers) &&
		slices.Equal(a.Underlay, b.Underlay) && a.VTEP == b.VTEP &&
		a.ChecksumOff == b.ChecksumOff && slices.Equal(a.AcceptRA, b.AcceptRA)
}
