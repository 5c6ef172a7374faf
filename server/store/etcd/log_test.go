package etcd

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
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
	log := newLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: noTime})), &closing)
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

// A fatal error of etcd is Embed's error, not the end of the process.
func TestLogFatalPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	newLogger(slog.New(slog.DiscardHandler), &atomic.Bool{}).Fatal("gives up")
}
