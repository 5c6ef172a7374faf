package look

import (
	"bufio"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/host"
)

// processes remembers who speaks netlink in this network, by port.
type processes struct {
	ports string
	names map[string]bool
}

// look tells which daemons of the network run here: both keep netlink sockets, and
// the port of a socket is its process unless somebody else opened it. What the
// process is called is asked only when the ports are others.
func (p *processes) look(files *kept) host.Daemons {
	b, err := files.read("/proc/self/net/netlink")
	if err != nil {
		return host.Daemons{}
	}
	if ports := portsOf(string(b)); p.names == nil || strings.Join(ports, " ") != p.ports {
		p.ports, p.names = strings.Join(ports, " "), map[string]bool{}
		for _, port := range ports {
			if name, err := os.ReadFile("/proc/" + port + "/comm"); err == nil {
				p.names[strings.TrimSpace(string(name))] = true
			}
		}
	}
	out := host.Daemons{Networkd: p.names["systemd-network"], NetworkManager: p.names["NetworkManager"]} // of 15 bytes (proc(5))
	if out.Networkd {
		out.NetworkdKeeps = slices.Contains([]string{"no", "false", "off", "0"}, setting("/", "systemd/networkd.conf", "ManageForeignRoutes"))
	}
	if out.NetworkManager {
		out.NetworkManaged = !mentions("/", "NetworkManager/conf.d", "unmanaged-devices", "interface-name:weft")
	}
	return out
}

// portsOf is the third column of /proc/net/netlink, each once.
func portsOf(text string) []string {
	seen := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if i > 0 && len(f) > 2 && f[2] != "0" && len(f[2]) < 8 {
			seen[f[2]] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// dropIns lists the files that systemd and NetworkManager read, in their order: by
// name, and of one name the first folder's (systemd.conf(5), NetworkManager.conf(5)).
func dropIns(root, dir string) []string {
	files := map[string]string{}
	for _, top := range []string{"etc", "run", "usr/local/lib", "usr/lib"} {
		paths, _ := filepath.Glob(filepath.Join(root, top, dir, "*.conf"))
		for _, p := range paths {
			if _, ok := files[filepath.Base(p)]; !ok {
				files[filepath.Base(p)] = p
			}
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, files[name])
	}
	return out
}

// setting is the last value of a key in a file of systemd's and its drop-ins, in
// lower case.
func setting(root, file, key string) string {
	value := ""
	for _, path := range append([]string{filepath.Join(root, "etc", file)}, dropIns(root, file+".d")...) {
		each(path, func(line string) {
			if k, v, ok := strings.Cut(line, "="); ok && strings.TrimSpace(k) == key {
				value = strings.ToLower(strings.TrimSpace(v))
			}
		})
	}
	return value
}

// mentions tells whether a key of some drop-in holds a word.
func mentions(root, dir, key, word string) bool {
	found := false
	for _, path := range append([]string{filepath.Join(root, "etc", filepath.Dir(dir), filepath.Dir(dir)+".conf")}, dropIns(root, dir)...) {
		each(path, func(line string) {
			k, v, _ := strings.Cut(line, "=")
			found = found || strings.TrimRight(strings.TrimSpace(k), "+") == key && strings.Contains(v, word)
		})
	}
	return found
}

// each calls f for each line of a file that is no comment. No file has no lines.
func each(path string, f func(line string)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		if line := strings.TrimSpace(s.Text()); line != "" && line[0] != '#' && line[0] != ';' {
			f(line)
		}
	}
}
