package nat

import (
	"slices"

	"github.com/weft-net/weft/agent/datapath"
)

// Cache gives the very same slice again as long as the node is the same; it must
// not be written to. The zero value is ready; one goroutine at a time may use it.
type Cache struct {
	last    Node
	filled  bool
	objects []datapath.Object
	err     error
}

// Objects is the package's Objects, remembered.
func (c *Cache) Objects(n Node) ([]datapath.Object, error) {
	if !c.filled || !alike(c.last, n) {
		c.objects, c.err = Objects(n)
		c.last, c.filled = n, true
	}
	return c.objects, c.err
}

func alike(a, b Node) bool {
	return a.Cluster.Equal(b.Cluster) && slices.Equal(a.Lease, b.Lease) &&
		slices.Equal(a.HostPorts, b.HostPorts) && slices.Equal(a.Guard, b.Guard)
}
