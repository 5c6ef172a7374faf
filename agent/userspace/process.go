package userspace

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/weft-net/weft/agent/detached"
	"github.com/weft-net/weft/proto/note"
)

// inherited is how long a new process waits for one that is about to end.
const inherited = 2 * time.Second

// Serve is all that the process of a device does: it makes the device, says so to who
// started it (on ready, or to systemd if that is nil), and ends with ctx, the link or
// the socket. An end that nobody asked for is an error.
func Serve(ctx context.Context, dev string, ready io.WriteCloser, log *slog.Logger) error {
	d, err := Open(dev, Config{Log: log, Patience: inherited})
	if said := detached.Ready(ready, err); err == nil && said != nil {
		d.Close()
		return said
	}
	if err != nil {
		return err
	}
	defer d.Close()
	log.Info("WireGuard device made", note.Dev, dev)
	select {
	case <-ctx.Done():
		return nil
	case <-d.Done():
		return fmt.Errorf("userspace: the link %s or its socket %s was removed by somebody", dev, socketPath(dev))
	}
}
