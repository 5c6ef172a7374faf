package server

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// visitor is a connection that tells whether it was closed.
type visitor struct {
	net.Conn
	name   string
	hung   bool
	closed bool
}

func (v *visitor) Close() error {
	v.closed = true
	return nil
}

// served is a visitor whose turn came.
type served struct {
	name string
	turn *turn
}

// crowded are arrivals with one turn, which the first visitor has.
func crowded() (a *arrivals, begun chan served, first *turn) {
	begun = make(chan served, 100)
	a = newArrivals(func(c net.Conn, t *turn) { begun <- served{c.(*visitor).name, t} })
	a.most, a.gone = 1, func(c net.Conn) bool { return c.(*visitor).hung }
	a.come(&visitor{name: "first"})
	return a, begun, (<-begun).turn
}

// TestTheNewestGoesFirst: and who has hung up costs nothing.
func TestTheNewestGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, begun, first := crowded()
		gone := &visitor{name: "gone"}
		for _, v := range []*visitor{{name: "old"}, gone, {name: "new"}} {
			a.come(v)
		}
		gone.hung = true
		first.end()
		first.end() // twice is once
		second := <-begun
		second.turn.end()
		third := <-begun
		if second.name != "new" || third.name != "old" || !gone.closed || a.taken != 1 {
			t.Errorf("%s before %s, who hung up closed: %v, %d turns taken", second.name, third.name, gone.closed, a.taken)
		}
		third.turn.end()
		a.close()
	})
}

// TestATurnEnds: one that does not get on loses it, and the next begins.
func TestATurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, begun, first := crowded()
		a.come(&visitor{name: "next"})
		start := time.Now()
		next := <-begun
		if next.name != "next" || time.Since(start) != turnHeld {
			t.Errorf("%s began after %v; want next, after %v", next.name, time.Since(start), turnHeld)
		}
		first.end() // late, and of no effect on the other's
		if a.taken != 1 {
			t.Errorf("%d turns taken, want 1", a.taken)
		}
		next.turn.end()
		a.close()
	})
}

// TestTooManyWait: the oldest are let go; and all, when the port closes.
func TestTooManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, first := crowded()
		all := make([]*visitor, waitMax+3)
		for i := range all {
			all[i] = &visitor{}
			a.come(all[i])
		}
		for i, v := range all {
			if v.closed != (i < 3) {
				t.Fatalf("visitor %d of %d: closed %v", i, len(all), v.closed)
			}
		}
		a.close()
		late := &visitor{}
		a.come(late)
		if last := all[len(all)-1]; !last.closed || !late.closed {
			t.Errorf("when the port closed: who waited closed %v, who came late %v", last.closed, late.closed)
		}
		first.end()
	})
}

// TestHungUp: a closed connection is known by its socket, unread data or not.
func TestHungUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	write(t, client, "hello")
	if hungUp(server) {
		t.Error("an open connection counts as closed")
	}
	_ = client.Close()
	for deadline := time.Now().Add(10 * time.Second); !hungUp(server); { // the FIN is on its way
		if time.Now().After(deadline) {
			t.Fatal("a closed connection counts as open")
		}
	}
	if left, _ := net.Pipe(); hungUp(left) {
		t.Error("what cannot be asked counts as closed")
	}
}
