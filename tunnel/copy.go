package tunnel

import (
	"io"
	"net"
	"os"
	"syscall"
)

// firstPiece is what is held while a source that is not a socket has nothing to
// say. Once it fills that, it is asked for more at once.
const firstPiece = 1 << 10

// ReadFrom implements io.ReaderFrom: it sends what r gives until r ends. While a
// socket has nothing to read, no buffer is held.
func (s *Stream) ReadFrom(r io.Reader) (total int64, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	src := source{r: r, raw: rawOf(r), piece: firstPiece}
	for {
		s.conn.mu.Lock()
		room, err := s.awaitRoom()
		s.conn.mu.Unlock()
		if err != nil {
			return total, err
		}
		piece, err := src.next(room)
		if piece != nil {
			total += int64(piece.len())
			if err := s.pass(piece); err != nil {
				return total, err
			}
		}
		if err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
	}
}

// pass sends a chunk, which it gives back in the end.
func (s *Stream) pass(piece *chunk) error {
	c := s.conn
	c.mu.Lock()
	if err := s.writeEnd(); err != nil {
		c.mu.Unlock()
		piece.free()
		return err
	}
	if b := s.direct(piece.bytes(), piece); b != nil {
		c.mu.Unlock()
		c.sendNow(b)
		return nil
	}
	s.spend(piece.len())
	if len(piece.buf) > 4*piece.len() || s.out.size > 0 && piece.len() <= 4<<10 {
		s.out.append(piece.bytes()) // what waits long should not waste
		piece.free()
	} else {
		s.enqueue(piece)
	}
	s.line()
	c.unlockAndWrite()
	return nil
}

// source gives chunks of what is read.
type source struct {
	r     io.Reader
	raw   syscall.RawConn // nil: not a socket of package net
	piece int
}

// next returns a chunk of at most room bytes, or none and an error, or both.
func (s *source) next(room int) (piece *chunk, err error) {
	if s.raw != nil {
		return s.fromSocket(room)
	}
	piece = newChunk(min(room, s.piece))
	want := min(room, len(piece.buf))
	n, err := s.r.Read(piece.buf[:want])
	piece.end = n
	switch {
	case n == want:
		s.piece = maxData
	case n < firstPiece:
		s.piece = firstPiece
	}
	if n == 0 {
		piece.free()
		return nil, err
	}
	return piece, err
}

// fromSocket waits for bytes first, and takes a chunk for them then.
func (s *source) fromSocket(room int) (piece *chunk, err error) {
	n := 0
	failed := s.raw.Read(func(fd uintptr) bool {
		piece = newChunk(room)
		for {
			n, err = syscall.Read(int(fd), piece.buf[:room])
			if err != syscall.EINTR {
				break
			}
		}
		if n <= 0 {
			piece.free()
			piece = nil
		}
		return err != syscall.EAGAIN
	})
	switch {
	case failed != nil:
		return nil, failed
	case err != nil:
		return nil, os.NewSyscallError("read", err)
	case n == 0:
		return nil, io.EOF
	}
	piece.end = n
	return piece, nil
}

// WriteTo implements io.WriterTo: it hands w what comes until the other end has
// written all, in the memory in which it came.
func (s *Stream) WriteTo(w io.Writer) (total int64, err error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	sink := sink{w: w, vector: rawOf(w) != nil}
	for {
		s.conn.mu.Lock()
		if err := s.awaitData(); err != nil {
			s.conn.mu.Unlock()
			if err == io.EOF {
				err = nil
			}
			return total, err
		}
		took := s.in
		s.in.clear()
		s.conn.mu.Unlock()

		n, err := sink.put(&took)
		total += n

		s.conn.mu.Lock()
		s.consumed(took.size)
		s.conn.unlockAndWrite()
		if err != nil {
			return total, err
		}
	}
}

// sink writes chunks and gives them back.
type sink struct {
	w      io.Writer
	vector bool // a socket that takes many pieces in one system call
	pieces net.Buffers
}

func (s *sink) put(q *queue) (total int64, err error) {
	if s.vector && q.head.next != nil {
		all := s.pieces[:0]
		for c := q.head; c != nil; c = c.next {
			all = append(all, c.bytes())
		}
		s.pieces = all // WriteTo moves its own
		total, err = s.pieces.WriteTo(s.w)
		clear(all)
		s.pieces = all
	}
	for c := q.head; c != nil; {
		if err == nil && total < int64(q.size) {
			var n int
			n, err = s.w.Write(c.bytes())
			if total += int64(n); err == nil && n < c.len() {
				err = io.ErrShortWrite
			}
		}
		next := c.next
		c.free()
		c = next
	}
	return total, err
}
