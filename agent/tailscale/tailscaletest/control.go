package tailscaletest

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// control is the verb by which a test says what happens in the tailnet. The program
// has none of this name.
const control = "control"

// control does what others do there:
//
//	approve PREFIX,…     what this node advertises is approved
//	carry NODE PREFIX,…  so is what another does
//	expire               the node's login ends
//	off, on              tailscaled does not run, runs
//	calls                prints what the program was called with
func (d *Daemon) control(args []string, stdout io.Writer) error {
	switch what := strings.Join(args[:min(1, len(args))], ""); {
	case what == "approve" && len(args) == 2:
		d.Approve = prefixes(args[1])
	case what == "carry" && len(args) == 3:
		if d.Peers == nil {
			d.Peers = map[string][]netip.Prefix{}
		}
		d.Peers[args[1]] = prefixes(args[2])
	case what == "expire":
		d.Backend = "NeedsLogin"
	case what == "off", what == "on":
		d.Off = what == "off"
	case what == "calls":
		for _, c := range d.Calls {
			fmt.Fprintln(stdout, c)
		}
	default:
		return fmt.Errorf("control: approve PREFIX,…, carry NODE PREFIX,…, expire, off, on or calls, not %q", args)
	}
	return nil
}
