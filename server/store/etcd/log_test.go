package etcd

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

func TestLogBridge(t *testing.T) {
	var out strings.Builder
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	var closing atomic.Bool
	log := newLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: noTime})), &closing, newSurrender(t.TempDir()))
	log.Debug("about bbolt")
	log.With(zap.String("member", "m1")).Info("about itself", zap.Int("term", 2))
	log.Warn(harmless[0])
	log.Warn("slow disk", zap.Duration("took", 1))
	log.Error("damaged")
	closing.Store(true)
	log.Error("listener closed")
	want := `level=DEBUG msg="about itself" room=etcd member=m1 term=2
level=WARN msg="slow disk" room=etcd took=1ns
level=ERROR msg=damaged room=etcd
level=DEBUG msg="listener closed" room=etcd
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
}

// Where etcd gives up, its reason is an error, not the end of the process.
func TestSurrender(t *testing.T) {
	for _, tt := range []struct {
		give func(*zap.Logger)
		want string
	}{
		{func(l *zap.Logger) { l.Fatal("gives up") }, "it gave up: gives up; its files may be damaged: " + restore},
		{func(l *zap.Logger) { l.Panic("failed to open database", zap.Error(errors.New("invalid"))) }, "it gave up: failed to open database: invalid; its files may be damaged: " + restore},
		{func(l *zap.Logger) { l.Fatal("failed to save", zap.Error(unix.ENOSPC)) }, "it gave up: failed to save: no space left on device; make room on its disk and start again: what was acknowledged is not lost"},
		{func(l *zap.Logger) { l.Fatal("failed to save", zap.Error(unix.EROFS)) }, "it gave up: failed to save: read-only file system; make its folder writable and start again"},
	} {
		given := newSurrender(t.TempDir())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			tt.give(newLogger(slog.New(slog.DiscardHandler), &atomic.Bool{}, given))
			t.Error("etcd goes on")
		}()
		<-ended
		if err := <-given.said; err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}

// A member of a store that was reset since must not be told to be reset as well.
func TestWhileWaiting(t *testing.T) {
	s := newSurrender("/d/etcd")
	log := newLogger(slog.New(slog.NewTextHandler(io.Discard, nil)), &atomic.Bool{}, s)
	log.Warn("slow disk")
	if got, want := s.whileWaiting(), "start the other servers; if they are gone for good: weft-server --cluster-reset"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	log.Error("request sent was ignored by remote peer due to cluster ID mismatch")
	if got, want := s.whileWaiting(), "another server runs another store: it was reset or restored, and this one is from before; move /d/etcd away and start with --server and --token-file"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
