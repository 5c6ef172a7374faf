package main

import (
	"bytes"
	"sync"
	"weak"

	"github.com/weft-net/weft/proto/intent"
)

// memory shares what the agents of one process read: an object that some of them
// hold is decoded once and held once. Nothing is kept that no agent holds.
type memory struct {
	mu    sync.Mutex
	items map[intent.ID]weak.Pointer[intent.Item] // the last of each name
}

func (m *memory) read(o intent.Object) *intent.Item {
	m.mu.Lock()
	defer m.mu.Unlock()
	if it := m.items[o.ID()].Value(); it != nil && it.Revision == o.Revision && bytes.Equal(it.Value, o.Value) {
		return it
	}
	it := intent.Read(o)
	m.items[o.ID()] = weak.Make(it)
	return it
}
