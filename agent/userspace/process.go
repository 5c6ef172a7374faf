package userspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/weft-net/weft/proto/note"
)

// inherited is how long a new process waits for one that is about to end.
const inherited = 2 * time.Second

// Serve is all that the process of a device does: it makes the device, says so to who
// started it (on ready, or to systemd if that is nil), and ends with ctx, the link or
// the socket. An end that nobody asked for is an error.
func Serve(ctx context.Context, dev string, ready io.WriteCloser, log *slog.Logger) error {
	d, err := Open(dev, Config{Log: log, Patience: inherited})
	if ready != nil {
		_, _ = fmt.Fprintln(ready, said(err))
		_ = ready.Close()
	}
	if err != nil {
		return err
	}
	defer d.Close()
	if ready == nil {
		if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
			return fmt.Errorf("userspace: tell systemd: %w", err)
		}
	}
	log.Info("WireGuard device made", note.Dev, dev)
	select {
	case <-ctx.Done():
		return nil
	case <-d.Done():
		return fmt.Errorf("userspace: the link %s or its socket %s was removed by somebody", dev, socketPath(dev))
	}
}

// isReady is what a process says once its device is there. Anything else is an error.
const isReady = "ready"

func said(err error) string {
	if err != nil {
		return err.Error()
	}
	return isReady
}

// heard reads what a process said.
func heard(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, 4096))
	switch {
	case string(b) == isReady+"\n":
		return nil
	case len(b) > 0:
		return errors.New(string(b[:len(b)-1]))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("userspace: the process of the device did not say that it is ready")
	case err != nil:
		return fmt.Errorf("userspace: what the process of the device says: %w", err)
	}
	return errors.New("userspace: the process of the device ended before it was ready")
}
