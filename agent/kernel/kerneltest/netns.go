package kerneltest

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Netns moves the test into a new network namespace, with lo up, until it ends.
// The test's goroutine keeps its thread; commands that it runs are inside too. Its
// subtests run on threads of their own and are not.
func Netns(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare: %v", err)
	}
	t.Cleanup(func() {
		err := unix.Setns(home, unix.CLONE_NEWNET)
		unix.Close(home)
		if err != nil {
			t.Errorf("leave the network namespace: %v", err) // the thread stays locked and dies
			return
		}
		runtime.UnlockOSThread()
	})
	Run(t, "ip link set lo up")
}

// Run runs a command, split at spaces, and returns its output.
func Run(t testing.TB, line string) string {
	t.Helper()
	words := strings.Fields(line)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}
