package check

import (
	"os"
	"path/filepath"
)

// folders are written to: the data folder must take files, the container runtime's
// should be there.
func (n Node) folders() []Check {
	var out []Check
	dir := n.DataDir
	for !isDir(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir) // the agent makes what is missing
	}
	f, err := os.CreateTemp(dir, ".weft-check-")
	if err != nil {
		out = append(out, fail("folder "+n.DataDir, "make it writable for root, or choose another with --data-dir", "%v", err))
	} else {
		f.Close()
		_ = os.Remove(f.Name())
		out = append(out, ok("folder "+n.DataDir, "can be written to"))
	}
	if n.CNIDir == "" {
		return append(out, warn("CNI", "start the container runtime once, or name its folder with --cni-conf-dir", "no folder of a container runtime was found"))
	}
	return append(out, ok("CNI", "configuration goes to %s", n.CNIDir))
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// bound is the file that bounds what servers may dial through this node. A fabric
// is carried without it, so that it is no failure.
func (n Node) bound() []Check {
	var out []Check
	for _, p := range n.Unbound {
		out = append(out, warn(p.Subject, p.Remedy, "%s", p.Cause))
	}
	if len(out) == 0 && n.Bound != "" {
		out = append(out, ok("egress file", "%s bounds what servers may dial through this node", n.Bound))
	}
	return out
}
