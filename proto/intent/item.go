package intent

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/weft-net/weft/proto/egress"
)

// Item is an object with what it was read to. It never changes, so that many sets
// may hold it.
type Item struct {
	Object
	Err error // why it is not understood

	digest  uint64
	cluster Cluster
	peer    Peer
	pause   Pause
	egress  egress.Policy
}

// Read decodes one object.
func Read(o Object) *Item {
	it := &Item{Object: o, digest: o.Digest()}
	if len(o.Value) > MaxObject {
		it.Err = fmt.Errorf("%d bytes; at most %d are read", len(o.Value), MaxObject)
		return it
	}
	switch o.Collection {
	case CollectionCluster:
		it.cluster, it.Err = DecodeCluster(o.Value)
	case CollectionPeers:
		if it.peer, it.Err = DecodePeer(o.Value); it.Err == nil && PeerKey(it.peer.Name) != o.Key {
			it.Err = fmt.Errorf("names node %q", it.peer.Name)
		}
	case CollectionPause:
		it.pause, it.Err = DecodePause(o.Value)
	case CollectionEgress:
		if it.egress, it.Err = egress.DecodePolicy(o.Value); it.Err == nil && EgressKey(it.egress.Name) != o.Key {
			it.Err = fmt.Errorf("names policy %q", it.egress.Name)
		}
	default:
		it.Err = errors.New("this release does not know the collection; upgrade the agent")
	}
	return it
}

// Digest is the object's part of a set's digest: the first 64 bits of the SHA-256
// of collection, key and value, each after its length. The revision is left out:
// two servers that compile the same say the same.
func (o Object) Digest() uint64 {
	b := make([]byte, 0, 512)
	b = binary.AppendUvarint(b, uint64(len(o.Collection)))
	b = append(b, o.Collection...)
	b = binary.AppendUvarint(b, uint64(len(o.Key)))
	b = append(b, o.Key...)
	b = append(b, o.Value...)
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8])
}
