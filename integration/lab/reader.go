package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"
)

// Reader gets one page for as long as it comes: a stream that must not break, or
// one that stalls.
type Reader struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	lines int       // read so far
	last  time.Time // of the last line
	gap   time.Duration
	err   error
}

// StartReader reads a page of lines (a Web's /ticks) until Stop, or the lab's end.
func StartReader(h *Host, f Front, page string) (*Reader, error) {
	ctx, cancel := context.WithCancel(context.Background())
	body, err := f.open(ctx, page)
	if err != nil {
		cancel()
		return nil, err
	}
	r := &Reader{cancel: cancel, done: make(chan struct{}), last: time.Now()}
	go r.read(body)
	h.lab.keep(r)
	return r, nil
}

func (r *Reader) read(body io.ReadCloser) {
	defer close(r.done)
	defer body.Close()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		r.mu.Lock()
		now := time.Now()
		r.gap = max(r.gap, now.Sub(r.last))
		r.lines, r.last = r.lines+1, now
		r.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err = lines.Err(); r.err == nil {
		r.err = io.ErrUnexpectedEOF
	}
}

// Lines are how many have come; the error is why there will be no more.
func (r *Reader) Lines() (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lines, r.err
}

// More returns when fifty more lines have come. A stream that broke is an error.
func (r *Reader) More(ctx context.Context) (string, error) {
	begin, _ := r.Lines()
	err := Until(ctx, "more lines", func() (string, error) {
		if n, broken := r.Lines(); broken == nil && n < begin+50 {
			return fmt.Sprintf("%d lines", n), ErrNotYet
		}
		return "", nil
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%d lines, the longest pause %v", r.lines, r.gap.Round(time.Millisecond)), errors.Join(err, r.err)
}

// Stop waits for more lines, as More does, and ends the stream.
func (r *Reader) Stop(ctx context.Context) (string, error) {
	defer r.Close()
	return r.More(ctx)
}

// Broken returns when the stream has ended by itself, with the reason.
func (r *Reader) Broken(ctx context.Context) (string, error) {
	select {
	case <-r.done:
		n, err := r.Lines()
		return fmt.Sprintf("%d lines, then %v", n, err), nil
	case <-ctx.Done():
		n, _ := r.Lines()
		return "", fmt.Errorf("lab: the stream goes on after %d lines: %w", n, ctx.Err())
	}
}

// Close ends the stream.
func (r *Reader) Close() {
	r.cancel()
	<-r.done
}

// Staller asks for a page of bytes and never reads.
type Staller struct{ conn net.Conn }

// StartStaller asks for an endless page (a Web's /bytes) until Close, or the lab's.
func StartStaller(ctx context.Context, h *Host, f Front, page string) (*Staller, error) {
	u, err := url.Parse(page)
	if err != nil {
		return nil, err
	}
	conn, err := f.Connect(ctx, u.Host)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", u.RequestURI(), u.Host); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s := &Staller{conn: conn}
	h.lab.keep(s)
	return s, nil
}

// Close ends it.
func (s *Staller) Close() { _ = s.conn.Close() }
