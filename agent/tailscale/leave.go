package tailscale

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/weft-net/weft/agent/datadir"
)

// Withdraw takes back what an agent did to Tailscale on this host, and says on out
// what. It is for a host that leaves the fabric; an agent that merely stops leaves all
// as it is. What somebody else set, and a node that somebody else brought up, stay.
func Withdraw(ctx context.Context, prog Program, dir *datadir.Dir, log *slog.Logger, out io.Writer) error {
	r, addrs, err := load(dir, log)
	if err != nil {
		return err
	}
	for !r.Equal(Record{}) {
		s, err := prog.state(ctx)
		if err != nil {
			return fmt.Errorf("tailscale: what weft set is not taken back (%s): %w; %s, and run it again", r, err, remedy(err))
		}
		c, more := Leave(s, r)
		if !more {
			break
		}
		if len(c.Args) > 0 {
			if err := call(ctx, prog, dir, Auth{}, c); err != nil {
				return fmt.Errorf("tailscale: %w", err)
			}
			fmt.Fprintln(out, "ran tailscale", strings.Join(c.Args, " "))
		}
		r = c.After
		if err := save(dir, r, addrs); err != nil {
			return err
		}
	}
	return errors.Join(dir.Remove(keyName), dir.Remove(recordName))
}

// String says what is to be taken back.
func (r Record) String() string {
	var out []string
	if len(r.Routes) > 0 {
		out = append(out, "routes "+list(r.Routes))
	}
	if r.Accepted {
		out = append(out, "--accept-routes")
	}
	if r.Up {
		out = append(out, "up")
	}
	out = append(out, r.Restore...)
	return strings.Join(out, ", ")
}
