package tunnel

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The way that is measured: a source's socket, a relay to the session, the session,
// a relay to a sink's socket, all in this process. BenchmarkTLS is the same with a
// TLS connection for each stream.

// cpu returns what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// lane is one stream with what is before and behind it.
type lane struct {
	source, sink net.Conn
}

// lay relays a lane over a stream or connection.
func lay(b *testing.B, w wire, in, out net.Conn) lane {
	source, intoRelay := sockets(b, w)
	fromRelay, sink := sockets(b, w)
	go func() { io.Copy(in, intoRelay); in.Close() }()
	go func() { io.Copy(fromRelay, out); fromRelay.Close(); out.Close() }()
	return lane{source, sink}
}

// pump sends b.N pieces over lanes and reports what it cost.
func pump(b *testing.B, lanes []lane) {
	const piece = 1 << 20
	b.SetBytes(piece)
	used := cpu()
	b.ResetTimer()
	var all sync.WaitGroup
	for i, l := range lanes {
		n := b.N / len(lanes)
		if i < b.N%len(lanes) {
			n++
		}
		all.Go(func() {
			p := make([]byte, 128<<10)
			for range n * (piece / len(p)) {
				l.source.Write(p)
			}
			l.source.Close()
		})
		all.Go(func() {
			p := make([]byte, 128<<10)
			total := 0
			for {
				m, err := l.sink.Read(p)
				if total += m; err != nil {
					break
				}
			}
			if total != n*piece {
				b.Errorf("%d of %d bytes came", total, n*piece)
			}
			l.sink.Close()
		})
	}
	all.Wait()
	b.ReportMetric((cpu()-used).Seconds()/(float64(b.N)*piece/1e9), "cpu-s/GB")
}

func benchStreams(b *testing.B, streams int, up bool) {
	a, z := pair(b, secure)
	from, to := z, a
	if up {
		from, to = a, z
	}
	lanes := make([]lane, streams)
	for i := range lanes {
		in, out := open(b, from, to)
		lanes[i] = lay(b, plain, in, out)
	}
	pump(b, lanes)
}

func benchTLS(b *testing.B, streams int) {
	lanes := make([]lane, streams)
	for i := range lanes {
		in, out := sockets(b, blind)
		go out.(*tls.Conn).Handshake()
		in.(*tls.Conn).Handshake()
		lanes[i] = lay(b, plain, in, out)
	}
	pump(b, lanes)
}

func BenchmarkTLS1(b *testing.B)   { benchTLS(b, 1) }
func BenchmarkTLS64(b *testing.B)  { benchTLS(b, 64) }
func BenchmarkDown1(b *testing.B)  { benchStreams(b, 1, false) }
func BenchmarkUp1(b *testing.B)    { benchStreams(b, 1, true) }
func BenchmarkDown64(b *testing.B) { benchStreams(b, 64, false) }
func BenchmarkUp64(b *testing.B)   { benchStreams(b, 64, true) }

// BenchmarkOpen opens a stream, has one small echo, and closes it.
func BenchmarkOpen(b *testing.B) {
	from, to := pair(b, secure)
	var all sync.WaitGroup
	go echoing(to, &all)
	p := make([]byte, 16)
	for b.Loop() {
		s, err := from.Open(context.Background(), []byte("target"))
		if err != nil {
			b.Fatal(err)
		}
		s.Write(p)
		io.ReadFull(s, p)
		s.Close()
	}
}

// BenchmarkEcho is a small message there and back on an open stream.
func BenchmarkEcho(b *testing.B) {
	from, to := pair(b, secure)
	near, far := open(b, from, to)
	go io.Copy(far, far)
	p := make([]byte, 16)
	for b.Loop() {
		near.Write(p)
		io.ReadFull(near, p)
	}
}
