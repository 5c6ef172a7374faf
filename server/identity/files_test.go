package identity

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"golang.org/x/sys/unix"
)

func open(t *testing.T, s store.Store, dir string) (*Authority, error) {
	t.Helper()
	return Open(t.Context(), s, Config{DataDir: dir, Server: "https://192.0.2.1:7443", Names: []string{"192.0.2.1", "weft.example"}})
}

func mustOpen(t *testing.T, s store.Store, dir string) *Authority {
	t.Helper()
	a, err := open(t, s, dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// contents are the files of a data folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

func TestFirstStartAndNext(t *testing.T) {
	m, dir := storetest.New(), filepath.Join(t.TempDir(), "new", "folder")
	first := mustOpen(t, m, dir)
	files := contents(t, dir)
	if len(files) != 4 {
		t.Errorf("files: %v", files)
	}
	for name := range files {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	stored := m.String()
	if strings.Contains(stored, "PRIVATE KEY") {
		t.Error("the store holds a key in the clear")
	}
	second := mustOpen(t, m, dir)
	if !bytes.Equal(first.CertificatePEM(), second.CertificatePEM()) || m.String() != stored {
		t.Error("the second start changed something")
	}
	for name, content := range contents(t, dir) {
		if files[name] != content {
			t.Errorf("the second start wrote %s", name)
		}
	}
	c, err := join.LoadCredentials(filepath.Join(dir, adminFile))
	if err != nil || c.Server != "https://192.0.2.1:7443" || c.User != "admin" {
		t.Errorf("credentials: %v, %v", c, err)
	}
}

// What is damaged is named, with what to do, and stays as it is.
func TestDamagedFiles(t *testing.T) {
	fresh := func(t *testing.T) (*storetest.Memory, string) {
		m, dir := storetest.New(), t.TempDir()
		mustOpen(t, m, dir)
		return m, dir
	}
	cut := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, info.Size()/2); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	other := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			_, from := fresh(t)
			if err := os.Rename(filepath.Join(from, name), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	cases := []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   []string
	}{
		{"half of server.key", cut(serverKeyFile), []string{"server.key is damaged", "from a backup", "not touched"}},
		{"no server.key", remove(serverKeyFile), []string{"server.key is not there", "copy it from a backup or from another server"}},
		{"another server.key", other(serverKeyFile), []string{"server.key does not open the CA", "--etcd-endpoints"}},
		{"half of admin.yaml", cut(adminFile), []string{"admin.yaml", "move it away", "not touched"}},
		{"another admin.yaml", other(adminFile), []string{"admin.yaml is of another fabric", "not touched"}},
		{"half of agent-token", cut(agentTokenFile), []string{"agent-token", "cut short", "move it away", "not touched"}},
		{"another agent-token", other(agentTokenFile), []string{"agent-token is of another fabric", "not touched"}},
	}
	for _, c := range cases {
		m, dir := fresh(t)
		c.damage(t, dir)
		before := contents(t, dir)
		_, err := open(t, m, dir)
		for _, want := range c.want {
			if !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%s: want %q, got %v", c.name, want, err)
			}
		}
		if after := contents(t, dir); fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("%s: files were changed: %v", c.name, after)
		}
	}
}

func TestLostFilesAreMadeAgain(t *testing.T) {
	f := newFabric(t, storetest.New(), Config{})
	lost := f.agentToken()
	config := f.admin()
	for _, name := range []string{adminFile, agentTokenFile} {
		if err := os.Remove(filepath.Join(f.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	mustOpen(t, f.store, f.dir)
	if f.agentToken() == lost {
		t.Error("the same token")
	}
	for i, token := range []join.Token{lost, f.agentToken()} {
		if err := f.join(newMachine(t, fmt.Sprintf("n%d", i)), token); err != nil {
			t.Errorf("token %d: %v", i, err)
		}
	}
	f.caughtUp()
	for _, c := range []string{"lost", "new"} {
		if err := calls["tokens"](t, f.dial(config)); !strings.Contains(fmt.Sprint(err), "not implemented") {
			t.Errorf("%s credentials: %v", c, err)
		}
		config = f.admin()
	}
}

// onDisk runs in a mount namespace with a small disk of its own.
func onDisk(t *testing.T, run func(dir string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a disk of its own needs root")
	}
	dir, done := t.TempDir(), make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread dies, and the disk with it
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		err = errors.Join(err, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		err = errors.Join(err, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"))
		if err == nil {
			run(dir)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestFullDisk(t *testing.T) {
	onDisk(t, func(dir string) {
		if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 64<<10), 0o600); err != nil {
			t.Error(err)
		}
		m := storetest.New()
		_, err := open(t, m, dir)
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), serverKeyFile) {
			t.Errorf("want ENOSPC on server.key, got %v", err)
		}
		if m.Revision() != 1 {
			t.Errorf("a CA was stored that nobody can open:\n%s", m)
		}
		if files := contents(t, dir); len(files) != 1 {
			t.Errorf("left over: %v", len(files))
		}
		if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
			t.Error(err)
		}
		if _, err := open(t, m, dir); err != nil {
			t.Errorf("with room again: %v", err)
		}
	})
}

func TestReadOnlyFolder(t *testing.T) {
	onDisk(t, func(dir string) {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Error(err)
		}
		if _, err := open(t, storetest.New(), dir); !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "--data-dir") {
			t.Errorf("want EROFS and --data-dir, got %v", err)
		}
	})
}

func TestAdminIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, dir := storetest.New(), t.TempDir()
		mustOpen(t, m, dir)
		path := filepath.Join(dir, adminFile)
		edited, err := join.LoadCredentials(path)
		if err != nil {
			t.Fatal(err)
		}
		edited.Server = "https://balancer.example"
		if err := edited.Save(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(userLife - renewBefore/2)
		mustOpen(t, m, dir)
		renewed, err := join.LoadCredentials(path)
		if err != nil || renewed.Valid(time.Now().Add(userLife-time.Hour)) != nil {
			t.Errorf("renewed: %v, %v", err, renewed.Valid(time.Now().Add(userLife-time.Hour)))
		}
		if renewed.Server != edited.Server {
			t.Errorf("the server's address is %s again", renewed.Server)
		}
	})
}

func TestNewerRecords(t *testing.T) {
	for _, key := range []string{caKey, userKey(adminName)} {
		m, dir := storetest.New(), t.TempDir()
		mustOpen(t, m, dir)
		if err := os.Remove(filepath.Join(dir, adminFile)); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: key, Value: []byte(`{"schema": 2}`)}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, m, dir); err == nil || !strings.Contains(err.Error(), "run the newer release again") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func FuzzServerKey(f *testing.F) {
	f.Add("weft-server-key-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := parseServerKey(text)
		if err != nil {
			return
		}
		if b, err := k.open(k.seal([]byte("x"), nil), nil); err != nil || string(b) != "x" {
			t.Errorf("%q: %v", text, err)
		}
	})
}
