package detached

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/coreos/go-systemd/v22/daemon"
)

// isReady is what a process says once it can be spoken with. Anything else is an error.
const isReady = "ready"

// Ready says to who started this process how that went: on an open file, or, if that is
// nil, to systemd, which is told of success only.
func Ready(to io.WriteCloser, err error) error {
	if to != nil {
		word := isReady
		if err != nil {
			word = err.Error()
		}
		_, _ = fmt.Fprintln(to, word)
		return to.Close()
	}
	if err != nil {
		return nil
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("detached: tell systemd: %w", err)
	}
	return nil
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
		return errors.New("detached: the process did not say that it is ready")
	case err != nil:
		return fmt.Errorf("detached: what the process says: %w", err)
	}
	return errors.New("detached: the process ended before it was ready")
}
