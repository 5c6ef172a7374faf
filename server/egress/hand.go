package egress

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
)

// Hand answers a CONNECT with 200 and hands bytes on, both ways, until both ends
// have said that nothing more comes, one of them breaks, or held ends. The two are
// closed then. It takes over w's connection: nothing is written to w afterwards.
func Hand(w http.ResponseWriter, c Conn, held context.Context) {
	defer c.Close()
	control := http.NewResponseController(w)
	client, rw, err := control.Hijack()
	if err != nil {
		http.Error(w, "this connection cannot be handed over", http.StatusInternalServerError)
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	early := make([]byte, rw.Reader.Buffered()) // sent before our answer
	if _, err := io.ReadFull(rw.Reader, early); err != nil {
		return
	}
	if _, err := c.Write(early); err != nil {
		return
	}
	Splice(held, client, c)
}

// Splice hands bytes on between two connections, both ways, until both have ended
// or ctx has. It closes both.
func Splice(ctx context.Context, a, b net.Conn) {
	both := func() { _ = a.Close(); _ = b.Close() }
	stop := context.AfterFunc(ctx, both)
	defer stop()
	defer both()
	var other sync.WaitGroup
	other.Go(func() { half(a, b, both) })
	half(b, a, both)
	other.Wait()
}

// half copies until from ends, and says so to the other side. Where something
// breaks, all of it does: half a stream is no good to anybody.
func half(to, from net.Conn, broken func()) {
	if _, err := io.Copy(to, from); err != nil {
		broken()
		return
	}
	end, ok := to.(interface{ CloseWrite() error })
	if !ok || end.CloseWrite() != nil {
		broken()
	}
}
