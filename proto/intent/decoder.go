package intent

import (
	"bytes"
	"maps"
	"slices"
	"strings"
)

// Decoder is Decode for one node again and again: an object whose bytes did not
// change since the last call is not read anew, and what it decodes to shares its
// slices and maps with the last result. The zero value is ready; one goroutine at
// a time may use it.
type Decoder struct {
	known map[objectID]*decoded
	call  uint64
}

type objectID struct{ collection, key string }

// decoded is what one object was read to.
type decoded struct {
	call    uint64 // of the Decoder, that had the object last
	value   []byte
	cluster Cluster
	peer    Peer
	err     error
}

// Decode is the package's Decode, remembered.
func (d *Decoder) Decode(name, epoch string, compile uint32, revision int64, objects []Object) (Node, []ObjectError) {
	n := Node{Name: name, Epoch: epoch, Compile: compile, Revision: revision, Cluster: Cluster{Backend: None}}
	n.Peers = make([]Peer, 0, len(objects))
	if d.known == nil {
		d.known = make(map[objectID]*decoded, len(objects))
	}
	d.call++
	var bad []ObjectError
	for _, o := range objects {
		id := objectID{o.Collection, o.Key}
		was := d.known[id]
		if was != nil && was.call == d.call {
			bad = append(bad, ObjectError{o.Collection, o.Key, errTwice})
			continue
		}
		if was == nil || !bytes.Equal(was.value, o.Value) {
			was = read(o)
			d.known[id] = was
		}
		was.call = d.call
		switch {
		case was.err != nil:
			bad = append(bad, ObjectError{o.Collection, o.Key, was.err})
		case o.Collection == CollectionCluster:
			n.Cluster = was.cluster
		default:
			n.Peers = append(n.Peers, was.peer)
		}
	}
	if len(d.known) > len(objects) {
		maps.DeleteFunc(d.known, func(_ objectID, was *decoded) bool { return was.call != d.call })
	}
	slices.SortFunc(n.Peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	return n, bad
}
