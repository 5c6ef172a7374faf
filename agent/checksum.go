package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// checksumOff decides whether the VXLAN devices send without checksum offload.
//
// Auto switches it off where a fault is known that loses packets:
//   - Linux before 5.7: masquerading of a packet that is inside VXLAN already
//     rewrote the outer UDP checksum although it was 0, and the receiver dropped
//     it (mended by ea64d8d6c675, "netfilter: nat: never update the UDP checksum
//     when it's 0"). Some distributions carry the mend in older kernels; there
//     the cost is some CPU time.
//   - The vmxnet3 driver: the virtual NIC computes the inner checksum only for
//     the VXLAN ports that its host knows, and sends garbage for others.
func checksumOff(setting, release string, drivers []string) bool {
	if setting != Auto {
		return setting == off
	}
	for _, d := range drivers {
		if d == "vmxnet3" {
			return true
		}
	}
	major, minor, ok := kernelVersion(release)
	return ok && (major < 5 || major == 5 && minor < 7)
}

// kernelVersion reads "6.1.0-13-amd64".
func kernelVersion(release string) (major, minor int, ok bool) {
	a, rest, _ := strings.Cut(release, ".")
	b := rest
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		b = rest[:i]
	}
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, err1 == nil && err2 == nil
}

// kernelRelease is what uname -r prints.
func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// driver is the name of a device's driver; empty for virtual devices.
func driver(dev string) string {
	to, err := os.Readlink(filepath.Join("/sys/class/net", dev, "device/driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}
