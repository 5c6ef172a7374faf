package etcd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		serveChild()
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

func embedded(t *testing.T, c Config) *Store {
	t.Helper()
	if c.DataDir == "" {
		c.DataDir = t.TempDir()
	}
	s, err := Embed(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestEmbeddedConforms(t *testing.T) {
	storetest.Conform(t, func(t *testing.T) store.Store { return embedded(t, Config{}) })
}

func TestEmbedKeepsWhatItHas(t *testing.T) {
	dir := t.TempDir()
	start := time.Now()
	s, err := Embed(t.Context(), Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("first start: %v", time.Since(start))
	if _, err := s.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: "/a", Value: []byte("1")}}}); err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("close: %v", time.Since(start))
	start = time.Now()
	again := embedded(t, Config{DataDir: dir})
	t.Logf("second start: %v", time.Since(start))
	if e, err := again.Get(t.Context(), "/a"); err != nil || string(e.Value) != "1" {
		t.Errorf("got %v, %v", e, err)
	}
	if _, err := s.Get(t.Context(), "/a"); !errors.Is(err, errClosed) {
		t.Errorf("a closed store answers %v", err)
	}
}

func TestEmbedRefuses(t *testing.T) {
	if _, err := Embed(t.Context(), Config{DataDir: filepath.Join(t.TempDir(), strings.Repeat("x", 90))}); err == nil || !strings.Contains(err.Error(), "shorter --data-dir") {
		t.Errorf("a long path: %v", err)
	}
	held := embedded(t, Config{})
	if _, err := Embed(t.Context(), Config{DataDir: held.config.DataDir}); err == nil || !strings.Contains(err.Error(), "in use by another weft-server") {
		t.Errorf("a second server: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Embed(t.Context(), Config{DataDir: file}); err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("no folder: %v", err)
	}
}

func TestStatus(t *testing.T) {
	s := embedded(t, Config{})
	status, err := s.Status(t.Context())
	if err != nil || status.Mode != "embedded" || status.Members != 1 || status.Size == 0 || status.Quota != quotaBytes || len(status.Alarms) > 0 {
		t.Errorf("got %+v, %v", status, err)
	}
}

func TestCloseEndsWatches(t *testing.T) {
	s, err := Embed(t.Context(), Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	seen, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.Watch(t.Context(), "/", 1, func(store.Batch) error { close(seen); return nil })
	}()
	if _, err := s.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: "/a", Value: []byte("1")}}}); err != nil {
		t.Fatal(err)
	}
	<-seen
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, errClosed) {
		t.Errorf("want errClosed, got %v", err)
	}
}

func TestCampaign(t *testing.T) {
	s := embedded(t, Config{})
	first := candidate(t, s, "a")
	fence := <-first.elected
	second := candidate(t, s, "b")
	fenced := store.Txn{If: []store.Cond{fence}, Then: []store.Write{{Key: "/a", Value: []byte("1")}}}
	if _, err := s.Commit(t.Context(), fenced); err != nil {
		t.Fatal(err)
	}
	select {
	case <-second.elected:
		t.Fatal("two leaders")
	default:
	}
	first.stop()
	<-second.elected
	if _, err := s.Commit(t.Context(), fenced); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a deposed leader's write: %v", err)
	}
	second.stop()
}

func TestCampaignEndsWithItsLeader(t *testing.T) {
	s := embedded(t, Config{})
	want := errors.New("enough of it")
	err := s.Campaign(t.Context(), "x", "a", func(context.Context, store.Cond) error { return want })
	if !errors.Is(err, want) {
		t.Errorf("want %v, got %v", want, err)
	}
}

// A leader whose lease is gone is told, and stands again.
func TestCampaignOfficeLost(t *testing.T) {
	s := embedded(t, Config{})
	c := candidate(t, s, "a")
	old := <-c.elected
	leases, err := s.client.Leases(t.Context())
	if err != nil || len(leases.Leases) != 1 {
		t.Fatal(leases, err)
	}
	if _, err := s.client.Revoke(t.Context(), leases.Leases[0].ID); err != nil {
		t.Fatal(err)
	}
	if again := <-c.elected; again.Revision <= old.Revision {
		t.Errorf("elected at %d, then at %d", old.Revision, again.Revision)
	}
	c.stop()
}

// A leader whose candidacy is taken away while its lease lives is told, and stands
// again; so is one who holds a key, and puts it again.
func TestTakenAway(t *testing.T) {
	s := embedded(t, Config{})
	c := candidate(t, s, "a")
	old := <-c.elected
	if _, err := s.Commit(t.Context(), store.Txn{If: []store.Cond{old}, Then: []store.Write{{Key: old.Key}}}); err != nil {
		t.Fatal(err)
	}
	if again := <-c.elected; again.Revision <= old.Revision {
		t.Errorf("elected at %d, then at %d", old.Revision, again.Revision)
	}
	c.stop()

	ctx, cancel := context.WithCancel(t.Context())
	put, done := make(chan int64, 8), make(chan error, 1)
	go func() {
		done <- s.Hold(ctx, "/held", func(old store.Entry) ([]byte, error) { return []byte("v"), nil })
	}()
	go func() {
		_ = s.Watch(ctx, "/held", 1, func(b store.Batch) error {
			for _, e := range b.Events {
				if e.Value != nil {
					put <- e.Revision
				}
			}
			return nil
		})
	}()
	first := <-put
	if _, err := s.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: "/held"}}}); err != nil {
		t.Fatal(err)
	}
	if again := <-put; again <= first {
		t.Errorf("put at %d, then at %d", first, again)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type standing struct {
	elected chan store.Cond
	stop    func()
}

func candidate(t *testing.T, s *Store, id string) standing {
	ctx, cancel := context.WithCancel(t.Context())
	elected, done := make(chan store.Cond), make(chan error, 1)
	go func() {
		done <- s.Campaign(ctx, "test", id, func(ctx context.Context, fence store.Cond) error {
			select {
			case elected <- fence:
			case <-ctx.Done():
			}
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	return standing{elected, func() {
		t.Helper()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("campaign of %s: %v", id, err)
		}
	}}
}

// A damaged write-ahead log is an error that says so, and nothing is removed.
func TestEmbedDamaged(t *testing.T) {
	dir := t.TempDir()
	s, err := Embed(t.Context(), Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "etcd", "member", "wal", "*.wal"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	if err := os.WriteFile(logs[0], []byte(strings.Repeat("damage", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	// In a process of its own: etcd leaves goroutines behind when it gives up.
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=embed "+dir)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "restore a backup") {
		t.Errorf("got %s, %v", out, err)
	}
	if _, err := os.Stat(logs[0]); err != nil {
		t.Error(err)
	}
}

// What etcd does not answer ends with its request all the same.
func TestAwait(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := await(ctx, func() (int, error) { <-never; return 0, nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if got, err := await(t.Context(), func() (int, error) { return 7, nil }); got != 7 || err != nil {
		t.Error(got, err)
	}
}
