package main

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Modes of a stream: its first byte.
const (
	modeDown byte = 'D' // the target sends without end
	modeUp   byte = 'U' // the target counts what comes
	modeBoth byte = 'B' // both at once
	modeEcho byte = 'E' // the target sends back what comes
)

// chunk is what is written and read at once by client and target.
const chunk = 256 << 10

// target is what is dialled: a server on loopback.
type target struct {
	bytes, open atomic.Int64
	zeros       []byte
	buffers     sync.Pool
}

func newTarget(s spec) (player, error) {
	l, err := net.Listen("tcp", s.Target)
	if err != nil {
		return nil, err
	}
	t := &target{zeros: make([]byte, chunk)}
	t.buffers.New = func() any { b := make([]byte, chunk); return &b }
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go t.serve(c)
		}
	}()
	return t, nil
}

func (t *target) do(context.Context, order) (answer, error) {
	return answer{Look: look{Bytes: t.bytes.Load(), Open: int(t.open.Load())}}, nil
}

func (t *target) serve(c net.Conn) {
	defer c.Close()
	t.open.Add(1)
	defer t.open.Add(-1)
	var mode [1]byte
	if _, err := io.ReadFull(c, mode[:]); err != nil {
		return
	}
	switch mode[0] {
	case modeDown:
		t.send(c)
	case modeUp:
		t.count(c)
	case modeBoth:
		go t.send(c)
		t.count(c)
	case modeEcho:
		echo(c)
	}
}

func (t *target) send(c net.Conn) {
	for {
		if _, err := c.Write(t.zeros); err != nil {
			return
		}
	}
}

func (t *target) count(c net.Conn) {
	b := t.buffers.Get().(*[]byte)
	defer t.buffers.Put(b)
	for {
		n, err := c.Read(*b)
		t.bytes.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// echo holds little: ten thousand of them stand at once.
func echo(c net.Conn) {
	b := make([]byte, 512)
	for {
		n, err := c.Read(b)
		if n > 0 {
			if _, werr := c.Write(b[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
