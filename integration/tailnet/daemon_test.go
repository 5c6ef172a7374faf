package tailnet

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/weft-net/weft/integration/lab"
)

// apart runs a command with an /etc, a /run and a hostname of its own: DNS of the
// machine is nobody's here.
const apart = `set -e
echo "$1" >/proc/sys/kernel/hostname; shift
mkdir -p "$0/etc" && cp /etc/passwd /etc/group /etc/hosts /etc/nsswitch.conf "$0/etc/" && : >"$0/etc/resolv.conf"
mount --bind "$0/etc" /etc
mount -t tmpfs tmpfs /run
exec "$@"`

// startDaemon starts tailscaled on a host and returns when it answers. From then on
// the host's tailscale is the real one.
func startDaemon(ctx context.Context, f *lab.Fabric, h *lab.Host, programs, ca string) (*lab.Process, error) {
	dir := filepath.Join(h.Dir(), "tailscale")
	bin, socket := filepath.Join(dir, "bin"), filepath.Join(dir, "tailscaled.sock")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	script := fmt.Sprintf("#!/bin/sh\nexec %s --socket=%s \"$@\"\n", filepath.Join(programs, "tailscale"), socket)
	if err := os.WriteFile(filepath.Join(bin, "tailscale"), []byte(script), 0o755); err != nil {
		return nil, err
	}
	h.Env = []string{"PATH=" + bin + ":" + f.Bin + ":" + os.Getenv("PATH")}
	p, err := h.Start("tailscaled", "unshare", "--uts", "sh", "-c", apart, dir, h.Name, "env", "SSL_CERT_FILE="+ca, "TS_LOGS_DIR="+dir,
		filepath.Join(programs, "tailscaled"), "--statedir="+dir, "--state="+filepath.Join(dir, "state"), "--socket="+socket, "--tun=tailscale0", "--port=41641", "--no-logs-no-support")
	if err != nil {
		return nil, err
	}
	return p, lab.Until(ctx, "tailscaled answers", func() (string, error) {
		_, err := ask(ctx, h)
		return p.Tail(10), err
	})
}

// told is what tailscaled says of itself, as far as tests ask.
type told struct {
	BackendState string
	Self         struct{ ID string }
	Peer         map[string]struct {
		CurAddr string // empty: by a relay
		Relay   string
	}
}

func ask(ctx context.Context, h *lab.Host) (told, error) {
	var t told
	out, err := h.Command(ctx, "tailscale", "status", "--json").Output()
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(out, &t)
}

// advertised are the routes that a host is set to advertise.
func advertised(ctx context.Context, h *lab.Host) ([]string, error) {
	out, err := h.Command(ctx, "tailscale", "debug", "prefs").Output()
	if err != nil {
		return nil, err
	}
	var prefs struct{ AdvertiseRoutes []string }
	err = json.Unmarshal(out, &prefs)
	slices.Sort(prefs.AdvertiseRoutes)
	return prefs.AdvertiseRoutes, err
}
