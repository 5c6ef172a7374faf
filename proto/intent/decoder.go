package intent

import (
	"bytes"
	"slices"
	"strings"
)

// Decoder is Decode for one node again and again: an object whose bytes did not
// change since the last call is not read anew, and what it decodes to shares its
// slices and maps with the last result. The zero value is ready; one goroutine at
// a time may use it.
type Decoder struct {
	known map[objectID]decoded
}

type objectID struct{ collection, key string }

// decoded is what one object was read to.
type decoded struct {
	value   []byte
	cluster Cluster
	peer    Peer
	err     error
}

// Decode is the package's Decode, remembered.
func (d *Decoder) Decode(name, epoch string, compile uint32, revision int64, objects []Object) (Node, []ObjectError) {
	n := Node{Name: name, Epoch: epoch, Compile: compile, Revision: revision, Cluster: Cluster{Backend: None}}
	n.Peers = make([]Peer, 0, len(objects))
	next := make(map[objectID]decoded, len(objects))
	var bad []ObjectError
	for _, o := range objects {
		id := objectID{o.Collection, o.Key}
		if _, twice := next[id]; twice {
			bad = append(bad, ObjectError{o.Collection, o.Key, errTwice})
			continue
		}
		was, known := d.known[id]
		if !known || !bytes.Equal(was.value, o.Value) {
			was = read(o)
		}
		next[id] = was
		switch {
		case was.err != nil:
			bad = append(bad, ObjectError{o.Collection, o.Key, was.err})
		case o.Collection == CollectionCluster:
			n.Cluster = was.cluster
		default:
			n.Peers = append(n.Peers, was.peer)
		}
	}
	d.known = next
	slices.SortFunc(n.Peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	return n, bad
}
