package push

import (
	"sync"
	"time"
)

// turns lets few streams at a time send full sets: with all of thousands at once,
// the first would be through as late as the last. A stream waits in line without a
// goroutine, and its heartbeats go on.
type turns struct {
	mu   sync.Mutex
	free int
	line []*stream
}

// turnFor is how long a stream has its turn at most: one whose agent reads slowly
// goes on sending, and the next begins beside it.
const turnFor = time.Second

// take answers whether it is a stream's turn; if not, it is kicked when it is.
func (t *turns) take(s *stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case s.standing == hasTurn:
		return true
	case s.standing == inLine:
		return false
	case t.free > 0:
		t.free--
		t.give(s)
		return true
	}
	s.standing = inLine
	t.line = append(t.line, s)
	return false
}

// give gives a stream its turn. t.mu is held.
func (t *turns) give(s *stream) {
	s.standing = hasTurn
	s.turned++
	number := s.turned
	time.AfterFunc(turnFor, func() { t.end(s, number) })
}

// done ends a stream's turn, or its waiting.
func (t *turns) done(s *stream) {
	t.mu.Lock()
	number := s.turned
	if s.standing == inLine {
		s.standing = noTurn // the line passes over it
	}
	t.mu.Unlock()
	t.end(s, number)
}

func (t *turns) end(s *stream, number int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.standing != hasTurn || s.turned != number {
		return
	}
	s.standing = noTurn
	t.free++
	for t.free > 0 && len(t.line) > 0 {
		next := t.line[0]
		t.line = t.line[1:]
		if next.standing == inLine {
			t.free--
			t.give(next)
			next.kick()
		}
	}
}

// standing of a stream in line.
type standing uint8

const (
	noTurn standing = iota
	inLine
	hasTurn
)
