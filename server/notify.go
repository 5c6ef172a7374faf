package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/weft-net/weft/proto/note"
)

// notify tells systemd something, if it started us (sd_notify(3)).
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd not notified", note.Err, err)
	}
}

// watchdog tells systemd that we live, as often as the unit's WatchdogSec wants
// it, until ctx ends. alive blocks when we do not.
func watchdog(ctx context.Context, log *slog.Logger, alive func()) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("watchdog not understood", note.Err, err)
	}
	if interval <= 0 {
		return nil
	}
	t := time.NewTicker(interval / 2)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			alive()
			notify(log, daemon.SdNotifyWatchdog)
		}
	}
}
