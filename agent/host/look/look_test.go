package look

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/datapath"
)

// still is a kernel with one firewall that counts how often it was read.
type still struct {
	stirs uint64
	reads int
}

func (s *still) Stirs() uint64 { return s.stirs }

func (s *still) Filters(context.Context) ([]datapath.Filter, error) {
	s.reads++
	return []datapath.Filter{{Family: "ip", Table: "t"}}, nil
}

// TestReads: firewalls are read again only after a stir.
func TestReads(t *testing.T) {
	k := &still{}
	e := Eyes{Kernel: k}
	now := time.Unix(1e9, 0)
	look := func(want int) {
		t.Helper()
		f, err := e.Facts(t.Context(), nil, 0, now)
		if err != nil || len(f.Filters) != 1 {
			t.Fatal(f, err)
		}
		if k.reads != want {
			t.Errorf("read %d times, want %d", k.reads, want)
		}
	}
	look(1)
	look(1)
	k.stirs++
	look(2)
	look(2)
	e.Again()
	look(3)
}

func TestBefore(t *testing.T) {
	for _, c := range []struct{ files, want string }{
		{"05-weft.conflist", ""},
		{"05-weft.conflist 10-flannel.conflist", ""},
		{"00-multus.conf 05-weft.conflist", "00-multus.conf"},
		{"01-a.conflist 02-b.conflist", "01-a.conflist 02-b.conflist"},
		{"00-notes.txt", ""},
		{"", ""},
	} {
		dir := t.TempDir()
		for _, f := range strings.Fields(c.files) {
			write(t, filepath.Join(dir, f), "")
		}
		e := Eyes{CNIDir: func() string { return dir }}
		if got := strings.Join(e.cni().Before, " "); got != c.want {
			t.Errorf("%q: before ours are %q, want %q", c.files, got, c.want)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestSetting: the last value in systemd's order of files.
func TestSetting(t *testing.T) {
	for _, c := range []struct {
		what  string
		files map[string]string
		want  string
	}{
		{"nothing", nil, ""},
		{"the file", map[string]string{"etc/systemd/networkd.conf": "[Network]\nManageForeignRoutes=no\n"}, "no"},
		{"a comment", map[string]string{"etc/systemd/networkd.conf": "#ManageForeignRoutes=no\n"}, ""},
		{"a drop-in beats the file", map[string]string{
			"etc/systemd/networkd.conf":              "ManageForeignRoutes=yes",
			"usr/lib/systemd/networkd.conf.d/a.conf": "ManageForeignRoutes=No",
		}, "no"},
		{"by name, not by folder", map[string]string{
			"etc/systemd/networkd.conf.d/a.conf":     "ManageForeignRoutes=yes",
			"usr/lib/systemd/networkd.conf.d/b.conf": "ManageForeignRoutes=no",
		}, "no"},
		{"one of /etc hides one of /usr", map[string]string{
			"etc/systemd/networkd.conf.d/b.conf":     "",
			"usr/lib/systemd/networkd.conf.d/b.conf": "ManageForeignRoutes=no",
		}, ""},
	} {
		root := t.TempDir()
		for name, text := range c.files {
			write(t, filepath.Join(root, name), text)
		}
		if got := setting(root, "systemd/networkd.conf", "ManageForeignRoutes"); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func TestMentions(t *testing.T) {
	root := t.TempDir()
	if mentions(root, "NetworkManager/conf.d", "unmanaged-devices", "interface-name:weft") {
		t.Error("mentioned nowhere")
	}
	shipped, err := os.ReadFile("../../../deploy/networkmanager/weft.conf")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "etc/NetworkManager/conf.d/weft.conf"), string(shipped))
	if !mentions(root, "NetworkManager/conf.d", "unmanaged-devices", "interface-name:weft") {
		t.Error("the drop-in that deploy ships is not seen")
	}
}

func TestPorts(t *testing.T) {
	const text = `sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
0000000000000000 0   1412       80000455 0        0        0     2        0        10
0000000000000000 0   4294962961 00000000 0        0        0     2        0        11
0000000000000000 15  1412       00000002 0        0        0     2        0        12
0000000000000000 16  0          00000000 0        0        0     2        0        13
`
	if got := strings.Join(portsOf(text), " "); got != "1412" {
		t.Errorf("ports %q", got)
	}
}
