// Command tailscale stands in for the tailscale program in scenarios: package
// tailscaletest, on the daemon of the file that WEFT_TEST_TAILSCALED names. A node
// that is up has device tailscale0 with its addresses, as tailscaled would make it; no
// packet goes through. `tailscale control …` is what happens in the tailnet.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/weft-net/weft/agent/tailscale/tailscaletest"
)

const (
	device = "tailscale0"
	end    = "tailscale0end" // of the wire that stands for it
	mtu    = "1280"          // tailscale.com/net/tstun, DefaultTUNMTU
)

func main() {
	path := os.Getenv("WEFT_TEST_TAILSCALED")
	status := tailscaletest.Main(path, os.Args[1:], os.Stdout, os.Stderr)
	if err := follow(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// follow makes the device what the daemon is. One that goes down keeps it, without
// addresses.
func follow(path string) error {
	d, err := tailscaletest.Load(path)
	if err != nil {
		return err
	}
	there := exec.Command("ip", "link", "show", device).Run() == nil
	var calls [][]string
	if !there {
		calls = [][]string{{"link", "add", device, "mtu", mtu, "type", "veth", "peer", "name", end, "mtu", mtu}, {"link", "set", end, "up"}, {"link", "set", device, "up"}}
	}
	if d.Backend != "Running" {
		calls = append(calls, []string{"addr", "flush", "dev", device, "scope", "global"})
	} else {
		for _, a := range d.Addrs {
			calls = append(calls, []string{"addr", "replace", a.String() + "/" + strconv.Itoa(a.BitLen()), "dev", device})
		}
	}
	for _, args := range calls {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	return nil
}
