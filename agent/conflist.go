package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

const (
	conflistName = "05-weft.conflist"
	pluginName   = "weft-cni"
)

// confDirs are where container runtimes look, the first that exists is taken.
// K3s has its own below its data folder; RKE2 and containerd share the usual one.
var confDirs = []string{"/var/lib/rancher/k3s/agent/etc/cni/net.d", "/etc/cni/net.d"}

// binDirs are K3s's own folders of plugins, the one that stays over its upgrades
// first. Elsewhere they are in /opt/cni/bin, where weft's package has put the shim.
var binDirs = []string{"/var/lib/rancher/k3s/data/cni", "/var/lib/rancher/k3s/data/current/bin"}

// findBinDir resolves --cni-bin-dir; empty means that nothing is copied.
func findBinDir(flag string, candidates []string) string {
	switch flag {
	case None, "":
		return ""
	case Auto:
		i := slices.IndexFunc(candidates, func(d string) bool { fi, err := os.Stat(d); return err == nil && fi.IsDir() })
		if i < 0 {
			return ""
		}
		return candidates[i]
	}
	return flag
}

// keepPlugin puts the shim back where a runtime's upgrade has left it behind. Only
// a look: it is copied at start when it is another.
func (a *agent) keepPlugin() []intent.Problem {
	dir := findBinDir(a.cfg.CNIBinDir, binDirs)
	if dir == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, pluginName)); err == nil {
		return nil
	}
	if err := installPlugin(dir); err != nil {
		return []intent.Problem{{Subject: filepath.Join(dir, pluginName), Cause: err.Error(), Remedy: "make the folder writable, or choose another with --cni-bin-dir"}}
	}
	a.log.Info("plugin put back", note.Path, filepath.Join(dir, pluginName))
	return nil
}

// findConfDir resolves --cni-conf-dir; empty means that there is none.
func findConfDir(flag string) string {
	switch flag {
	case None:
		return ""
	case Auto:
		i := slices.IndexFunc(confDirs, func(d string) bool { fi, err := os.Stat(d); return err == nil && fi.IsDir() })
		if i < 0 {
			return ""
		}
		return confDirs[i]
	}
	return flag
}

// conflist is the network configuration list of the node. Runtimes before CNI
// 1.1 know no cniVersions and read cniVersion, which 1.0 runtimes must accept.
func conflist(socket string) ([]byte, error) {
	type plugin struct {
		Type         string          `json:"type"`
		Socket       string          `json:"socket"`
		Capabilities map[string]bool `json:"capabilities"`
	}
	list := struct {
		CNIVersion  string   `json:"cniVersion"`
		CNIVersions []string `json:"cniVersions"`
		Name        string   `json:"name"`
		Plugins     []plugin `json:"plugins"`
	}{
		"1.0.0",
		cniwire.Versions(),
		"weft",
		[]plugin{{pluginName, socket, map[string]bool{"portMappings": true, "bandwidth": true, "ips": true, "mac": true, "dns": true}}},
	}
	b, err := json.MarshalIndent(list, "", "  ")
	return append(b, '\n'), err
}

// writeConflist keeps the configuration as it should be. The folder is made if
// it was named.
func writeConflist(dir, socket string) error {
	want, err := conflist(socket)
	if err != nil {
		return fmt.Errorf("agent: CNI configuration: %w", err)
	}
	path := filepath.Join(dir, conflistName)
	if have, err := os.ReadFile(path); err == nil && string(have) == string(want) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("agent: CNI configuration: %w; choose a folder with --cni-conf-dir, or none", err)
	}
	return disk.WriteFile(path, want, 0o644)
}

// installPlugin copies weft-cni from beside the agent into the runtime's folder,
// if one is given.
func installPlugin(dir string) error {
	if dir == "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("agent: --cni-bin-dir: %w", err)
	}
	from, to := filepath.Join(filepath.Dir(self), pluginName), filepath.Join(dir, pluginName)
	want, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("agent: --cni-bin-dir: %w; it must lie beside the agent", err)
	}
	have, err := os.ReadFile(to)
	if err == nil && string(have) == string(want) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("agent: --cni-bin-dir: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("agent: --cni-bin-dir: %w", err)
	}
	return disk.WriteFile(to, want, 0o755)
}
