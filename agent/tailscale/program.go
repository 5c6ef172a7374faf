package tailscale

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
)

// Program is the tailscale program of this host.
type Program struct {
	Path string // empty: tailscale, looked for in PATH at each call

	hide note.Secret // what no error may repeat
}

// Bounds of a call.
const (
	askWithin = 10 * time.Second
	upWithin  = 45 * time.Second // timeout, and what the program does before and after
	maxAnswer = 64 << 20         // bytes; a tailnet of ten thousand nodes says 15 MB
	maxError  = 8 << 10
	maxWords  = 400 // bytes of an error that are repeated
)

// errMissing says that there is no such program.
var errMissing = errors.New("no program tailscale is in PATH")

// state asks tailscaled what it is.
func (p Program) state(ctx context.Context) (State, error) {
	status, err := p.run(ctx, askWithin, "status", "--json")
	if err != nil {
		return State{}, err
	}
	prefs, err := p.run(ctx, askWithin, "debug", "prefs")
	if err != nil {
		return State{}, err
	}
	return ParseState(status, prefs)
}

// Look gives the addresses that the node has in its tailnet now.
func Look(ctx context.Context, p Program) ([]netip.Addr, error) {
	s, err := p.state(ctx)
	if err != nil {
		return nil, fmt.Errorf("tailscale: %w; %s", err, remedy(err))
	}
	return s.Addrs, nil
}

// run calls the program. Its arguments hold no secret.
func (p Program) run(ctx context.Context, within time.Duration, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	cmd := exec.CommandContext(ctx, cmp.Or(p.Path, "tailscale"), args...)
	out, words := bounded{most: maxAnswer}, bounded{most: maxError}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &words, time.Second
	cmd.Env = slices.DeleteFunc(os.Environ(), isSecret)
	err := cmd.Run()
	what := "tailscale " + strings.Join(args[:min(2, len(args))], " ")
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errMissing
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: no answer within %v: %w", what, within, ctx.Err())
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %s", what, err, p.said(words.b.Bytes()))
	case out.over:
		return nil, fmt.Errorf("%s: its answer has more than %d bytes", what, maxAnswer)
	}
	return out.b.Bytes(), nil
}

// isSecret tells variables of the agent's that are no other program's business.
func isSecret(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return slices.Contains([]string{"WEFT_VPN_AUTH", "K3S_VPN_AUTH", "WEFT_TOKEN"}, name)
}

// said is what a program wrote about its failure, on one line.
func (p Program) said(b []byte) string {
	s := strings.Join(strings.Fields(strings.ToValidUTF8(string(b), "?")), " ")
	if p.hide != "" { // whole, so before it is cut
		s = strings.ReplaceAll(s, p.hide.Reveal(), p.hide.String())
	}
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "…"
	}
	return cmp.Or(s, "it says nothing")
}

// bounded keeps the first bytes of what is written to it.
type bounded struct {
	b    bytes.Buffer
	most int
	over bool
}

// Write implements io.Writer. It takes everything: a program that is cut off in the
// middle of a line would end otherwise than by itself.
func (b *bounded) Write(p []byte) (int, error) {
	keep := p
	if room := b.most - b.b.Len(); len(keep) > room {
		keep, b.over = keep[:room], true
	}
	b.b.Write(keep)
	return len(p), nil
}
