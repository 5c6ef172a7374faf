package uplink

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// Bounds on what one server can make an agent hold.
const (
	maxObjects    = 1 << 16  // 10,000 nodes and then some
	maxBytes      = 64 << 20 // of keys and values
	maxCollection = 64       // bytes of a collection's name
	maxKey        = 1024     // bytes of a key
)

// stage is the set of objects that a stream is building: what stands, and changes
// to it; or, from ReplaceAll on, changes to nothing. It costs what changes.
type stage struct {
	read    func(intent.Object) *intent.Item
	stands  *intent.Set
	changes map[intent.ID]*intent.Item // nil: gone
	objects int                        // that are staged
	bytes   int                        // their weights
	merged  *intent.Set                // of stands and changes; nil until it is asked for
	inside  bool                       // between ReplaceAll begin and end
	whole   bool                       // a full set came on this stream and is not yet adopted
}

func newStage(stands *intent.Set, read func(intent.Object) *intent.Item) *stage {
	s := &stage{read: read}
	s.adopted(stands)
	return s
}

// apply takes one message that is no batch. An error means that the server broke
// the protocol: the stream ends and the next asks for a full set.
func (s *stage) apply(m *weftv1.SyncResponse) error {
	switch m := m.GetMessage().(type) {
	case *weftv1.SyncResponse_Set:
		return s.set(m.Set)
	case *weftv1.SyncResponse_Delete:
		s.drop(intent.ID{Collection: m.Delete.GetCollection(), Key: m.Delete.GetKey()})
	case *weftv1.SyncResponse_ReplaceAll:
		return s.bracket(m.ReplaceAll.GetPhase())
	case *weftv1.SyncResponse_Complete:
		if s.inside {
			return errors.New("complete before the full set ended")
		}
	case *weftv1.SyncResponse_Batch:
		return errors.New("a batch within a batch")
	}
	return nil
}

func (s *stage) set(m *weftv1.Set) error {
	o := intent.Object{Collection: m.GetCollection(), Key: m.GetKey(), Revision: m.GetRevision(), Value: m.GetValue()}
	if o.Collection == "" || len(o.Collection) > maxCollection || o.Key == "" || len(o.Key) > maxKey {
		return fmt.Errorf("object with a collection of %d and a key of %d bytes: 1 to %d and 1 to %d are taken",
			len(o.Collection), len(o.Key), maxCollection, maxKey)
	}
	s.put(o)
	if s.objects > maxObjects || s.bytes > maxBytes {
		return fmt.Errorf("more than %d objects or %d bytes", maxObjects, maxBytes)
	}
	return nil
}

// put stages an object. One that stands already, to the byte, is not read again.
func (s *stage) put(o intent.Object) {
	id := o.ID()
	it := s.stands.Find(id)
	if it == nil || !bytes.Equal(it.Value, o.Value) {
		it = s.read(o)
	}
	s.change(id, it)
}

func (s *stage) drop(id intent.ID) {
	if s.staged(id) != nil {
		s.change(id, nil)
	}
}

func (s *stage) change(id intent.ID, it *intent.Item) {
	s.merged = nil
	if old := s.staged(id); old != nil {
		s.objects, s.bytes = s.objects-1, s.bytes-old.Weight()
	}
	if it != nil {
		s.objects, s.bytes = s.objects+1, s.bytes+it.Weight()
	}
	if it == s.under().Find(id) { // as it stands
		delete(s.changes, id)
		return
	}
	s.changes[id] = it
}

// under is what the changes change.
func (s *stage) under() *intent.Set {
	if s.whole {
		return nil
	}
	return s.stands
}

// staged returns an object, or nil.
func (s *stage) staged(id intent.ID) *intent.Item {
	if it, changed := s.changes[id]; changed {
		return it
	}
	return s.under().Find(id)
}

func (s *stage) bracket(phase weftv1.ReplaceAll_Phase) error {
	switch {
	case phase == weftv1.ReplaceAll_PHASE_BEGIN:
		s.changes, s.objects, s.bytes = map[intent.ID]*intent.Item{}, 0, 0
		s.merged, s.inside, s.whole = nil, true, true
	case phase == weftv1.ReplaceAll_PHASE_END && s.inside:
		s.inside = false
	default:
		return fmt.Errorf("full set: %v out of turn", phase)
	}
	return nil
}

// changed tells whether something is staged that may differ from what stands.
func (s *stage) changed() bool { return s.whole || len(s.changes) > 0 }

// complete is what is staged, as a set.
func (s *stage) complete() *intent.Set {
	switch {
	case !s.changed():
		return s.stands
	case s.merged == nil:
		s.merged = s.under().With(s.changes)
	}
	return s.merged
}

// adopted notes what stands now.
func (s *stage) adopted(set *intent.Set) {
	s.stands, s.merged, s.whole, s.inside = set, nil, false, false
	s.changes, s.objects, s.bytes = map[intent.ID]*intent.Item{}, set.Len(), set.Bytes()
}
