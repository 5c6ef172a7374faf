package tailscale

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// When the provider looks again.
const (
	lookEvery = 15 * time.Second
	soonest   = time.Second // after events
	retryMost = time.Minute
)

// maxCalls bounds the calls of one turn: joining, accepting, advertising, and what
// somebody else changes meanwhile.
const maxCalls = 6

// Config makes a Provider.
type Config struct {
	Auth    Auth
	Program Program
	Dir     *datadir.Dir
	Log     *slog.Logger
	Wish    func() Wish // of the fabric, now
	Changed func()      // called when what the provider tells is another
}

// Provider keeps the node in its tailnet.
type Provider struct {
	Config
	kicks chan struct{} // room for one

	mu       sync.Mutex
	record   Record
	seen     State
	addrs    []netip.Addr
	problems []intent.Problem
	told     told
}

// told is what Changed was called for last.
type told struct {
	addrs    []netip.Addr
	carried  []netip.Prefix
	problems []intent.Problem
}

func (t told) equal(o told) bool {
	return slices.Equal(t.addrs, o.addrs) && slices.Equal(t.carried, o.carried) && slices.Equal(t.problems, o.problems)
}

// Open reads what an earlier run did.
func Open(c Config) (*Provider, error) {
	r, addrs, err := load(c.Dir, c.Log)
	if err != nil {
		return nil, err
	}
	if err := c.Dir.Remove(keyName); err != nil { // one that was killed may have left it
		return nil, fmt.Errorf("tailscale: %w", err)
	}
	return &Provider{
		Config: c, record: r, addrs: addrs, kicks: make(chan struct{}, 1),
		problems: []intent.Problem{{Subject: subject, Cause: "not asked yet", Remedy: "wait a moment"}},
	}, nil
}

// Kick says that the fabric's wish, or the host's network, is another.
func (p *Provider) Kick() {
	select {
	case p.kicks <- struct{}{}:
	default:
	}
}

// Addrs are the node's in the tailnet, as last seen; they stand while tailscaled does
// not answer.
func (p *Provider) Addrs() []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addrs
}

// Problems are what a person must do.
func (p *Provider) Problems() []intent.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.problems
}

// Carries tells whether the tailnet lets packets through to all prefixes of another
// node, as last seen.
func (p *Provider) Carries(prefixes []netip.Prefix) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(prefixes) > 0 && len(Lacking(p.seen.Carried, prefixes)) == 0
}

// Way words how the tailnet carries prefixes of another node, as last seen: State.Way.
func (p *Provider) Way(prefixes, ranges []netip.Prefix) (carried bool, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen.Backend != running {
		return false, "this node is not up in its tailnet: weft status says why"
	}
	return p.seen.Way(prefixes, ranges)
}

// Run keeps the node in its tailnet until ctx ends. What it set stays.
func (p *Provider) Run(ctx context.Context) error {
	failed := 0
	for ctx.Err() == nil {
		err := p.turn(ctx, time.Now())
		wait := lookEvery
		if failed++; err == nil {
			failed = 0
		} else {
			wait = backoff(failed)
		}
		if ctx.Err() == nil {
			p.tell(err, wait)
		}
		p.rest(ctx, wait, err == nil)
	}
	return nil
}

// backoff is how long to wait after so many failures in a row, with a jitter of a
// quarter: nodes that lost one control server do not come back in step.
func backoff(failed int) time.Duration {
	wait := min(retryMost, soonest<<min(failed, 10))
	return wait - wait/4 + rand.N(wait/2)
}

// rest waits. Events end it early, but not at once: what joins a tailnet makes many.
// After a failure they do not.
func (p *Provider) rest(ctx context.Context, wait time.Duration, early bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	kicks := p.kicks
	if !early {
		kicks = nil
	}
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
		return
	case <-kicks:
	}
	timer.Reset(soonest)
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// turn looks, and does what is to be done.
func (p *Provider) turn(ctx context.Context, now time.Time) error {
	for range maxCalls {
		s, err := p.Program.state(ctx)
		if err != nil {
			return err
		}
		w := p.Wish()
		if err := p.saw(s, w, now); err != nil {
			return err
		}
		call, more := Next(s, p.Auth, w, p.record)
		if !more {
			return nil
		}
		if err := p.do(ctx, call); err != nil {
			return err
		}
	}
	return errors.New("somebody else sets Tailscale all the time")
}

// saw takes what tailscaled is.
func (p *Provider) saw(s State, w Wish, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen, p.problems = s, Problems(s, p.Auth, w, now)
	if len(s.Addrs) == 0 || s.Backend != running || slices.Equal(s.Addrs, p.addrs) {
		return nil
	}
	p.addrs = s.Addrs
	p.Log.Info("tailnet address taken", note.Addr, s.Addrs)
	return save(p.Dir, p.record, p.addrs)
}

// do runs a call between its records.
func (p *Provider) do(ctx context.Context, c Call) error {
	was := p.record
	if err := p.note(c.Before); err != nil {
		return err
	}
	if len(c.Args) > 0 {
		p.Log.Info("Tailscale set", note.Op, "tailscale "+strings.Join(c.Args, " "))
		if err := call(ctx, p.Program, p.Dir, p.Auth, c); err != nil {
			return errors.Join(err, p.undone(err, was))
		}
	}
	return p.note(c.After)
}

// undone takes back the record of a call that the program refused: whoever does
// better by hand has done it himself. One that merely took too long may yet succeed.
func (p *Provider) undone(err error, was Record) error {
	var refused *exec.ExitError
	if !errors.As(err, &refused) || strings.Contains(err.Error(), "timeout waiting") {
		return nil
	}
	was.Restore = p.record.Restore // the program may have reset these and failed later
	return p.note(was)
}

// note has a record on disk.
func (p *Provider) note(r Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Equal(p.record) {
		return nil
	}
	if err := save(p.Dir, r, p.addrs); err != nil {
		return err
	}
	p.record = r
	return nil
}

// tell says what came of a turn.
func (p *Provider) tell(err error, again time.Duration) {
	p.mu.Lock()
	if err != nil {
		why := intent.Problem{Subject: subject, Cause: err.Error(), Remedy: remedy(err)}
		if !slices.Contains(p.problems, why) {
			p.Log.Warn("tailnet not reached", note.Err, err, note.Retry, again.Round(time.Millisecond), note.Do, why.Remedy)
		}
		p.problems = []intent.Problem{why}
	}
	now := told{p.addrs, p.seen.Carried, p.problems}
	same := now.equal(p.told)
	p.told = now
	p.mu.Unlock()
	if !same {
		p.Changed()
	}
}

// remedy says what to do about an error of the program.
func remedy(err error) string {
	text := err.Error()
	switch {
	case errors.Is(err, errMissing):
		return "install Tailscale (https://tailscale.com/download), then: systemctl enable --now tailscaled"
	case errors.Is(err, fs.ErrNotExist):
		return "write the key into that file"
	case strings.Contains(text, "failed to connect to local"):
		return "systemctl enable --now tailscaled"
	case strings.Contains(text, "invalid key"), strings.Contains(text, "not valid"), strings.Contains(text, "expired"):
		return "make another key (one that is reusable, for several nodes), and give it to --vpn-auth-file"
	}
	return "it is tried again; look: tailscale status, journalctl -u tailscaled"
}
