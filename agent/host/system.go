package host

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// Drop-ins that deploy/ ships, where the daemons read them.
const (
	NetworkdDropIn = "/etc/systemd/networkd.conf.d/weft.conf"
	ManagerDropIn  = "/etc/NetworkManager/conf.d/weft.conf"
)

// daemons tells of those that take away what they did not make.
func daemons(_ Node, f Facts) []Finding {
	var out []Finding
	if f.Daemons.Networkd && !f.Daemons.NetworkdKeeps {
		out = append(out, Finding{
			Severity: Warning, Subject: "systemd-networkd",
			Cause:  "removes routes that it did not make when it starts or a link comes up; they are put back each time",
			Remedy: `printf '[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n' | install -D -m 644 /dev/stdin ` + NetworkdDropIn + " && systemctl restart systemd-networkd",
		})
	}
	if f.Daemons.NetworkManager && f.Daemons.NetworkManaged {
		out = append(out, Finding{
			Severity: Warning, Subject: "NetworkManager",
			Cause:  "may take weft's devices as its own and remove their addresses",
			Remedy: `printf '[keyfile]\nunmanaged-devices+=interface-name:weft*;interface-name:wf???????????\n' | install -D -m 644 /dev/stdin ` + ManagerDropIn + " && systemctl reload NetworkManager",
		})
	}
	return out
}

// ConflistName is the configuration that weft writes.
const ConflistName = "05-weft.conflist"

// runtime tells of configurations that a container runtime would take before ours:
// it takes the first file by name (libcni, ConfFiles).
func runtime(_ Node, f Facts) []Finding {
	var out []Finding
	for _, name := range f.CNI.Before {
		p := path.Join(f.CNI.Dir, name)
		out = append(out, Finding{
			Severity: Warning, Subject: p,
			Cause:  "it sorts before " + ConflistName + ": the container runtime uses it and not weft",
			Remedy: "if pods should be weft's: mv " + p + " " + p + ".off",
		})
		break
	}
	return out
}

// mostApart is how far clocks may be apart: certificates are backdated one hour.
const mostApart = 5 * time.Minute

// roughly is a distance of clocks that stays the same text from look to look.
func roughly(d time.Duration) string {
	if d >= time.Hour {
		d = d.Round(time.Minute)
	} else {
		d = d.Round(10 * time.Second)
	}
	text := d.String()
	if whole, ok := strings.CutSuffix(text, "m0s"); ok {
		return whole + "m"
	}
	return text
}

func clock(_ Node, f Facts) []Finding {
	var out []Finding
	if d := f.Clock.Apart; d.Abs() > mostApart {
		way := "behind"
		if d < 0 {
			way = "ahead of"
		}
		ours, theirs := "this machine", "the server"
		if f.Clock.Node != "" {
			ours = f.Clock.Node
		}
		if f.Clock.Server != "" {
			theirs = "server " + f.Clock.Server
		}
		out = append(out, Finding{
			Severity: Fault, Subject: "clock",
			Cause:  fmt.Sprintf("the clock of %s is %s %s that of %s; its certificate is renewed by the server's meanwhile", ours, roughly(d.Abs()), way, theirs),
			Remedy: "on " + ours + ", or on " + theirs + " if that is the one that is wrong: timedatectl set-ntp true; timedatectl timesync-status",
		})
	}
	if f.Clock.Unsynchronized {
		out = append(out, Finding{
			Severity: Note, Subject: "clock", Cause: "the kernel's clock is not synchronized",
			Remedy: "timedatectl set-ntp true",
		})
	}
	return out
}

// What a data folder needs: a record is a file of a block, written beside the one
// that it replaces.
const (
	leastBytes  = 16 << 20
	leastInodes = 64
)

func disks(_ Node, f Facts) []Finding {
	var out []Finding
	for _, d := range f.Disks {
		cause, look := "", "df -h "
		switch {
		case d.ReadOnly:
			cause = "the file system is read-only: no pod can be recorded, no intent kept"
		case d.Free < leastBytes:
			cause = fmt.Sprintf("%d MiB are free; pods are refused when none is", d.Free>>20)
		case !d.NoInodes && d.FreeInodes < leastInodes:
			cause, look = fmt.Sprintf("%d inodes are free; pods are refused when none is", d.FreeInodes), "df -i "
		default:
			continue
		}
		remedy := "make room on that file system: " + look + d.Path
		if d.ReadOnly {
			remedy = `dmesg | tail; mount -o remount,rw "$(findmnt -n -o TARGET -T ` + d.Path + `)"`
		}
		out = append(out, Finding{Severity: Fault, Subject: d.Path, Cause: cause, Remedy: remedy})
	}
	return out
}

// stacks are other pod networks, by their devices.
var stacks = []struct{ name, devices string }{
	{"Flannel", "flannel.*"},
	{"Flannel", "flannel-wg*"},
	{"Calico", "cali*"},
	{"Calico", "vxlan.calico"},
	{"Cilium", "cilium_*"},
	{"Weave", "weave"},
	{"Antrea", "antrea-gw0"},
}

// devices tells of other pod networks that are still here.
func devices(_ Node, f Facts) []Finding {
	var out []Finding
	for _, s := range stacks {
		var names []string
		for _, l := range f.Links {
			if ok, _ := path.Match(s.devices, l.Name); ok {
				names = append(names, l.Name)
			}
		}
		if len(names) == 0 || slices.ContainsFunc(out, func(o Finding) bool { return o.Subject == s.name }) {
			continue
		}
		out = append(out, Finding{
			Severity: Note, Subject: s.name, Cause: "its devices are on this node: " + strings.Join(names[:min(len(names), 4)], ", "),
			Remedy: "once no pod is its own: ip link del " + names[0],
		})
	}
	return out
}
