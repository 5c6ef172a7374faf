package pod

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/weft-net/weft/proto/cniwire"
	"golang.org/x/sys/unix"
)

// TestRealDisk fills a file system and takes the right to write from it.
func TestRealDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a file system of its own")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	w := newWorld()
	k := w.open(t, dir)
	first, second := request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig), request(cniwire.Add, "b", w.netns("/ns/b"), plainConfig)
	del := request(cniwire.Del, "a", "/ns/a", plainConfig)
	expect(t, "ADD", say(k, first), "OK 10.42.1.1 fd42:42:0:1::1")

	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	expect(t, "ADD on a full disk", say(k, second), "5 pod: write the record of shop/b (container b): …")
	expect(t, "STATUS on a full disk", say(k, request(cniwire.Status, "", "", plainConfig)), "50 pod: records cannot be written: …")
	expect(t, "DEL on a full disk", say(k, del), "OK")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	expect(t, "STATUS with room again", say(k, request(cniwire.Status, "", "", plainConfig)), "OK")
	expect(t, "ADD", say(k, first), "OK …")

	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	expect(t, "ADD on a read-only disk", say(k, second), "5 pod: write the record of shop/b (container b): …")
	expect(t, "DEL on a read-only disk keeps the addresses", say(k, del), "11 pod: give back shop/a (container a) (wf49075c1f237): …")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	expect(t, "DEL", say(k, del), "OK")
	if len(w.veths) > 0 || len(k.entries) > 0 {
		t.Errorf("left behind: %v %v", w.veths, k.entries)
	}
}

// fill writes until nothing more fits.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for b := make([]byte, 4096); err == nil; {
		_, err = f.Write(b)
	}
}
