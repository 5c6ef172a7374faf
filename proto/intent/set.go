package intent

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/weft-net/weft/proto/egress"
)

// ID names an object.
type ID struct{ Collection, Key string }

// Compare orders IDs by collection and key.
func (a ID) Compare(b ID) int {
	return cmp.Or(strings.Compare(a.Collection, b.Collection), strings.Compare(a.Key, b.Key))
}

// ID of the object.
func (o Object) ID() ID { return ID{o.Collection, o.Key} }

// Weight is what an object costs to hold, in bytes of names and value.
func (o Object) Weight() int { return len(o.Collection) + len(o.Key) + len(o.Value) }

// Set is objects, each once. It never changes: With makes another, that shares
// everything which is the same. A change of one object among n costs n words, not
// n objects. The zero value, and a nil one, is the empty set.
type Set struct {
	items  []*Item // by collection and key
	digest uint64  // sum of the items'
	bytes  int     // sum of the items' weights
	bad    int     // items that are not understood

	once    sync.Once // of what follows, made when it is first asked for
	cluster Cluster
	peers   []Peer
	egress  []egress.Policy
}

// NewSet reads objects. Of two with one name the first counts; the second is
// answered as an error.
func NewSet(objects []Object) (*Set, []ObjectError) {
	changes := make(map[ID]*Item, len(objects))
	var bad []ObjectError
	for _, o := range objects {
		if changes[o.ID()] != nil {
			bad = append(bad, ObjectError{o.Collection, o.Key, errTwice})
			continue
		}
		changes[o.ID()] = Read(o)
	}
	return (*Set)(nil).With(changes), bad
}

// With is the set with changes: an item in the place of the one of its name, nil
// for none.
func (s *Set) With(changes map[ID]*Item) *Set {
	ids := make([]ID, 0, len(changes))
	for id := range changes {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, ID.Compare)
	old := s.all()
	out := &Set{items: make([]*Item, 0, len(old)+len(ids))}
	if s != nil {
		out.digest, out.bytes, out.bad = s.digest, s.bytes, s.bad
	}
	for _, id := range ids {
		i, found := slices.BinarySearchFunc(old, id, func(it *Item, id ID) int { return it.ID().Compare(id) })
		out.items = append(out.items, old[:i]...)
		if old = old[i:]; found {
			out.count(old[0], -1)
			old = old[1:]
		}
		if it := changes[id]; it != nil {
			out.items = append(out.items, it)
			out.count(it, +1)
		}
	}
	out.items = append(out.items, old...)
	return out
}

func (s *Set) count(it *Item, sign int) {
	s.digest += uint64(sign) * it.digest
	s.bytes += sign * it.Weight()
	if it.Err != nil {
		s.bad += sign
	}
}

func (s *Set) all() []*Item {
	if s == nil {
		return nil
	}
	return s.items
}

// Len is the count of objects.
func (s *Set) Len() int { return len(s.all()) }

// Bytes is the sum of the objects' weights.
func (s *Set) Bytes() int {
	if s == nil {
		return 0
	}
	return s.bytes
}

// Digest is the same for sets of the same objects, whatever the order in which
// they came; the sum of their digests, modulo 2^64. That of the empty set is 0.
func (s *Set) Digest() uint64 {
	if s == nil {
		return 0
	}
	return s.digest
}

// Find returns an object of the set, or nil.
func (s *Set) Find(id ID) *Item {
	items := s.all()
	i, found := slices.BinarySearchFunc(items, id, func(it *Item, id ID) int { return it.ID().Compare(id) })
	if !found {
		return nil
	}
	return items[i]
}

// Peer returns what is known of a node.
func (s *Set) Peer(name string) (Peer, bool) {
	it := s.Find(ID{CollectionPeers, PeerKey(name)})
	if it == nil || it.Err != nil {
		return Peer{}, false
	}
	return it.peer, true
}

// Objects lists the set by collection and key.
func (s *Set) Objects() []Object {
	out := make([]Object, 0, s.Len())
	for _, it := range s.all() {
		out = append(out, it.Object)
	}
	return out
}

// Bad lists the objects that are not understood.
func (s *Set) Bad() []ObjectError {
	if s == nil || s.bad == 0 {
		return nil
	}
	var out []ObjectError
	for _, it := range s.items {
		if it.Err != nil {
			out = append(out, ObjectError{it.Collection, it.Key, it.Err})
		}
	}
	return out
}

// Node is what the set tells a node. Nodes of one set share their slices and maps.
func (s *Set) Node(name, epoch string, compile uint32, revision int64) Node {
	n := Node{Name: name, Epoch: epoch, Compile: compile, Revision: revision, Cluster: Cluster{Backend: None}, Peers: []Peer{}}
	if s == nil {
		return n
	}
	s.once.Do(s.compose)
	n.Cluster, n.Peers, n.Egress = s.cluster, s.peers, s.egress
	if it := s.Find(ID{CollectionPause, PauseKey(name)}); it != nil && it.Err == nil {
		n.Pause = it.pause
	}
	return n
}

func (s *Set) compose() {
	s.cluster, s.peers = Cluster{Backend: None}, make([]Peer, 0, len(s.items))
	for _, it := range s.items {
		switch {
		case it.Err != nil:
		case it.Collection == CollectionCluster:
			s.cluster = it.cluster
		case it.Collection == CollectionPause: // one node's: see Node
		case it.Collection == CollectionEgress:
			s.egress = append(s.egress, it.egress)
		default:
			s.peers = append(s.peers, it.peer)
		}
	}
	if !sort.SliceIsSorted(s.peers, func(i, j int) bool { return s.peers[i].Name < s.peers[j].Name }) {
		slices.SortFunc(s.peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	}
}
