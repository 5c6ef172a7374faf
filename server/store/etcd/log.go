package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/weft-net/weft/proto/note"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// harmless are warnings of each start.
var harmless = []string{
	// gRPC and HTTP share our socket, and nobody watches over it.
	"Running http and grpc server on single port. This is not recommended for production.",
	// A database that was just made has none yet.
	"Failed to detect schema version",
	"failed to update storage version",
	// A member that is away is told by weft status, once; these come every second.
	"prober detected unhealthy status",
	"failed to reach the peer URL",
	"failed to get version",
	"lost TCP streaming connection with remote peer",
	"peer became inactive (message send to peer failed)",
	"waiting for ReadIndex response took too long, retrying",
}

// bridge is a zapcore.Core that writes to slog. etcd's Info is about itself and
// becomes Debug; its Debug, several lines a write, is left out. While etcd is
// closed everything becomes Debug: it logs four errors then that are none.
type bridge struct {
	log     *slog.Logger
	closing *atomic.Bool
	gave    *surrender
}

// newLogger is the logger that etcd gets. Where etcd would end the process, by a
// panic or at once, surrendered gets the reason and only that goroutine ends.
func newLogger(log *slog.Logger, closing *atomic.Bool, surrendered *surrender) *zap.Logger {
	return zap.New(bridge{log: log.With(note.Room, "etcd"), closing: closing, gave: surrendered}, zap.WithFatalHook(surrendered), zap.WithPanicHook(surrendered))
}

// surrender is why etcd gave up, if it did. A client, which never does, has none.
type surrender struct {
	dir  string     // of etcd
	said chan error // room for one
	gave atomic.Bool

	foreign atomic.Bool // a member told that its cluster is another: it was reset since
}

func newSurrender(dir string) *surrender { return &surrender{dir: dir, said: make(chan error, 1)} }

// OnWrite implements zapcore.CheckWriteHook.
func (s *surrender) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := errors.New(e.Message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			err = fmt.Errorf("%s: %w", e.Message, cause)
		}
	}
	dir := ""
	if s != nil {
		dir = s.dir
	}
	s.tell(gaveUp(dir, err))
	runtime.Goexit()
}

// whileWaiting is what to do about members that are not there.
func (s *surrender) whileWaiting() string {
	if s.foreign.Load() {
		return "another server runs another store: it was reset or restored, and this one is from before; move " + s.dir +
			" away and start with --server and --token-file"
	}
	return "start the other servers; if they are gone for good: weft-server --cluster-reset"
}

func (s *surrender) tell(err error) {
	if s == nil {
		return
	}
	s.gave.Store(true)
	select {
	case s.said <- err:
	default: // the first reason is the one
	}
}

func (b bridge) level(l zapcore.Level) slog.Level {
	switch {
	case b.closing.Load() || l <= zapcore.InfoLevel:
		return slog.LevelDebug
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// Enabled implements zapcore.LevelEnabler.
func (b bridge) Enabled(l zapcore.Level) bool {
	return l >= zapcore.InfoLevel && b.log.Enabled(context.Background(), b.level(l))
}

// With implements zapcore.Core.
func (b bridge) With(fields []zapcore.Field) zapcore.Core {
	b.log = b.log.With(attributes(fields)...)
	return b
}

// Check implements zapcore.Core.
func (b bridge) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) && !slices.Contains(harmless, e.Message) {
		return checked.AddCore(e, b)
	}
	return checked
}

// Write implements zapcore.Core.
func (b bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if b.gave != nil && strings.Contains(e.Message, "cluster ID mismatch") {
		b.gave.foreign.Store(true)
	}
	b.log.Log(context.Background(), b.level(e.Level), e.Message, attributes(fields)...)
	return nil
}

// Sync implements zapcore.Core.
func (bridge) Sync() error { return nil }

func attributes(fields []zapcore.Field) []any {
	encoder := zapcore.NewMapObjectEncoder()
	list := make([]any, 0, len(fields))
	for _, f := range fields {
		f.AddTo(encoder)
		list = append(list, slog.Any(f.Key, encoder.Fields[f.Key]))
	}
	return list
}
