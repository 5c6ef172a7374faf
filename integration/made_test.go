package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/weft-net/weft/integration/lab"
)

// makers are who makes WireGuard devices: by the type of link that `ip -d link` shows,
// the word of --wireguard; and how weft get nodes calls them.
var (
	makers    = map[string]string{"wireguard": "kernel", "tun": "userspace"}
	theirWord = map[string]string{"kernel": "kernel", "userspace": "go"}
)

// made HOST|all [kernel|userspace]: a host's WireGuard devices are made by the kernel,
// or by processes, as its kernel has it. Where that is not said, WEFT_WIREGUARD says it
// for the whole machine; else it is the same of all, whichever, and weft says so too.
func (s *scenario) made(ctx context.Context, args []string) (string, error) {
	hosts := s.Nodes
	if args[0] != "all" {
		h, err := s.host(args[0])
		if err != nil {
			return "", err
		}
		hosts = []*lab.Host{h}
	}
	want := os.Getenv("WEFT_WIREGUARD")
	if len(args) > 1 {
		want = args[1]
	}
	var out strings.Builder
	for _, h := range hosts {
		by, err := maker(ctx, h)
		if err != nil {
			return out.String(), err
		}
		fmt.Fprintf(&out, "%s: made by %s\n", h.Name, by)
		if want = cmp.Or(want, by); by != want {
			return out.String(), fmt.Errorf("WireGuard devices of %s are made by %s, not %s", h.Name, by, want)
		}
		if len(args) > 1 {
			continue // another may have made them than would now
		}
		if err := lab.Until(ctx, "weft says who makes WireGuard devices", func() (string, error) {
			said, err := s.Weft(ctx, "get", "nodes", h.Name, "-o", "jsonpath={.status.wireguard}")
			if err == nil && strings.TrimSpace(said) != theirWord[by] {
				err = lab.ErrNotYet
			}
			return said, err
		}); err != nil {
			return out.String(), err
		}
	}
	return out.String(), nil
}

// maker is who made a host's WireGuard devices of weft's.
func maker(ctx context.Context, h *lab.Host) (by string, err error) {
	var links []struct {
		Name string `json:"ifname"`
		Info struct {
			Kind string `json:"info_kind"`
		} `json:"linkinfo"`
	}
	if err := runJSON(ctx, h, &links, "ip", "-j", "-d", "link", "show"); err != nil {
		return "", err
	}
	for _, l := range links {
		if !strings.HasPrefix(l.Name, "weft-wg") {
			continue
		}
		m := makers[l.Info.Kind]
		if m == "" || by != "" && by != m {
			return "", fmt.Errorf("on %s: %s is a %s, and others are made by %q", h.Name, l.Name, l.Info.Kind, by)
		}
		by = m
	}
	if by == "" {
		return "", errors.New(h.Name + " has no WireGuard device of weft's")
	}
	return by, nil
}
