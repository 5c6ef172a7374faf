package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/cniwire"
)

type handlerFunc func(context.Context, cniwire.Request) cniwire.Response

func (f handlerFunc) Serve(ctx context.Context, r cniwire.Request) cniwire.Response { return f(ctx, r) }

// serveCNI listens until the test ends and returns the socket's path.
func serveCNI(t *testing.T, h handlerFunc) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cni.sock")
	l, err := Listen(path, CNIMode)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- CNI{Handler: h, Log: slog.New(slog.DiscardHandler)}.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

// tell sends raw bytes and returns what comes back.
func tell(path, document string) (string, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	// A server that has seen enough closes early; its answer is what counts.
	_, _ = conn.Write([]byte(document))
	_ = conn.(*net.UnixConn).CloseWrite()
	resp, err := cniwire.ReadResponse(conn)
	if err != nil {
		return "", err
	}
	if resp.Error != nil {
		return fmt.Sprintf("%d %s", resp.Error.Code, resp.Error.Msg), nil
	}
	return "OK " + string(resp.Result), nil
}

func TestCNIDocuments(t *testing.T) {
	path := serveCNI(t, func(_ context.Context, r cniwire.Request) cniwire.Response {
		return cniwire.Response{Result: []byte(fmt.Sprintf("%q", r.ContainerID))}
	})
	for _, c := range []struct{ name, in, want string }{
		{"OK", `{"version":1,"verb":"ADD","containerID":"c"}`, `OK "c"`},
		{"bad empty", "", "5 cniwire: the other end closed without a word"},
		{"bad truncated", `{"version":1,"verb"`, "6 cniwire: the document ends after 19 bytes, in the middle"},
		{"bad oversized", `"` + strings.Repeat("a", cniwire.MaxDocument), "6 cniwire: the document is larger than 1048576 bytes"},
		{"bad verb", `{"version":1,"verb":"VERSION"}`, `4 cniwire: unknown verb "VERSION"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := tell(path, c.in); got != c.want || err != nil {
				t.Errorf("%s, %v\nwant: %s", got, err, c.want)
			}
		})
	}
}

// TestCNIDeadline: a command is given up before the shim does.
func TestCNIDeadline(t *testing.T) {
	before := time.Now()
	path := serveCNI(t, func(ctx context.Context, r cniwire.Request) cniwire.Response {
		at, ok := ctx.Deadline()
		if latest := time.Now().Add(r.Verb.Timeout() - cniwire.Margin); !ok || at.After(latest) || at.Before(before) {
			return cniwire.Response{Error: cniwire.Errorf(cniwire.CodeInternal, "deadline %v, at the latest %v", at, latest)}
		}
		return cniwire.Response{Result: []byte("1")}
	})
	for _, verb := range []cniwire.Verb{cniwire.Add, cniwire.Status, cniwire.GC} {
		if got, err := tell(path, fmt.Sprintf(`{"version":1,"verb":%q}`, verb)); got != "OK 1" || err != nil {
			t.Errorf("%s: %s, %v", verb, got, err)
		}
	}
}

func TestCNIManyAtOnce(t *testing.T) {
	var mu sync.Mutex
	running, most := 0, 0
	path := serveCNI(t, func(context.Context, cniwire.Request) cniwire.Response {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		defer func() {
			mu.Lock()
			running--
			mu.Unlock()
		}()
		return cniwire.Response{Result: []byte("1")}
	})
	var wg sync.WaitGroup
	errs := make(chan error, 300)
	for range 300 {
		wg.Go(func() {
			if got, err := tell(path, `{"version":1,"verb":"DEL","containerID":"c"}`); err != nil || got != "OK 1" {
				errs <- fmt.Errorf("%s: %w", got, err)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if most > cniRunning {
		t.Errorf("%d commands ran at once, at most %d may", most, cniRunning)
	}
}

func TestCNIFinishesWhatItBegan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cni.sock")
	l, err := Listen(path, CNIMode)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := handlerFunc(func(ctx context.Context, _ cniwire.Request) cniwire.Response {
		cancel()
		if ctx.Err() != nil {
			return cniwire.Response{Error: cniwire.AsError(errors.New("cut off"))}
		}
		return cniwire.Response{Result: []byte("1")}
	})
	done := make(chan error)
	go func() { done <- CNI{Handler: h, Log: slog.New(slog.DiscardHandler)}.Serve(ctx, l) }()
	if got, err := tell(path, `{"version":1,"verb":"ADD"}`); got != "OK 1" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if err = <-done; err != nil {
		t.Error(err)
	}
}
