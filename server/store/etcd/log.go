package etcd

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// harmless are warnings of each start.
var harmless = []string{
	// gRPC and HTTP share our socket, and nobody watches over it.
	"Running http and grpc server on single port. This is not recommended for production.",
	// A database that was just made has none yet.
	"Failed to detect schema version",
}

// bridge is a zapcore.Core that writes to slog. etcd's Info is about itself and
// becomes Debug; its Debug, several lines a write, is left out. While etcd is
// closed everything becomes Debug: it logs four errors then that are none.
type bridge struct {
	log     *slog.Logger
	closing *atomic.Bool
}

// newLogger is the logger that etcd gets. Where etcd would exit the process it
// panics instead, so that Embed can make an error of it.
func newLogger(log *slog.Logger, closing *atomic.Bool) *zap.Logger {
	return zap.New(bridge{log: log.With("room", "etcd"), closing: closing}, zap.WithFatalHook(zapcore.WriteThenPanic))
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
