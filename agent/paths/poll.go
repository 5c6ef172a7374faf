package paths

import (
	"context"
	"time"

	"github.com/weft-net/weft/proto/note"
)

// Times of polls: of a quiet node, the least between two, and how long one may take.
const (
	pollEvery  = time.Second
	pollApart  = 50 * time.Millisecond
	pollWithin = 3 * time.Second
)

// poll asks the WireGuard devices again and again, and soon when the machine wants to
// look.
func (p *Paths) poll(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.looks:
		case <-timer.C:
		}
		asked, cancel := context.WithTimeout(ctx, pollWithin)
		began := time.Now()
		list, err := p.cfg.Devices.WGPeers(asked)
		cancel()
		switch {
		case err != nil && !failing && ctx.Err() == nil:
			p.cfg.Log.Warn("WireGuard devices not read", note.Err, err, note.Retry, pollEvery)
		case err == nil:
			select {
			case p.devices <- list:
			case <-ctx.Done():
				return nil
			}
		}
		failing = err != nil
		// A thousand peers take a while to list: a tenth of the time at most.
		timer.Reset(max(pollEvery, 10*time.Since(began)))
		if !pause(ctx, pollApart) {
			return nil
		}
	}
}

// pause answers false if ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
