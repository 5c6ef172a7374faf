package connect

import (
	"container/list"
	"net"
	"sync"
)

// unread are connections whose request was not read yet. Who means something by
// coming sends it at once: of too many the oldest goes.
type unread struct {
	most int

	mu    sync.Mutex
	conns list.List // of net.Conn, the oldest first
}

// enter notes a connection. What it returns takes the note back.
func (u *unread) enter(conn net.Conn) (leave func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	at := u.conns.PushBack(conn)
	if u.conns.Len() > u.most {
		oldest := u.conns.Front()
		u.conns.Remove(oldest)
		_ = oldest.Value.(net.Conn).Close()
	}
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.conns.Remove(at) // nothing, if it is not in the list any more
	}
}
