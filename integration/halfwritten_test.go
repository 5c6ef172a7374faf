package integration

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// damages are what a power cut, a full disk or a stray editor leaves of a file.
var damages = []struct {
	what string
	do   func(b []byte) []byte
}{
	{"empty", func([]byte) []byte { return nil }},
	{"its first byte", func(b []byte) []byte { return b[:min(1, len(b))] }},
	{"its first half", func(b []byte) []byte { return b[:len(b)/2] }},
	{"all but its end", func(b []byte) []byte { return b[:max(0, len(b)-3)] }},
	{"zeros", func(b []byte) []byte { return make([]byte, len(b)) }},
	{"garbage", func(b []byte) []byte {
		return bytes.Repeat([]byte("\x00\xff{[\"weft\n"), len(b)/9+1)
	}},
}

// TestHalfWrittenFiles damages each file of a node's and of a server's folder in
// every way. Who starts over it either comes up whole, or ends and names the file
// and what to do, and leaves the file as it is; no packet between pods is lost.
func TestHalfWrittenFiles(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*patience)
	defer cancel()
	f, flow := flowing(ctx, t)
	node := f.Nodes[0]
	if err := f.Agents["n1"].Stop(patience); err != nil {
		t.Fatal(err)
	}
	(&halfWritten{f, filepath.Join(node.Dir(), "data"), "weft-agent.log", func() (*lab.Process, error) { return f.Agent(node) }}).all(ctx, t)
	if err := f.StartAgent(ctx, node); err != nil {
		t.Fatal(err)
	}
	if err := f.ServerProcesses["s1"].Stop(patience); err != nil {
		t.Fatal(err)
	}
	(&halfWritten{f, f.ServerDir(), "weft-server.log", func() (*lab.Process, error) { return f.LaunchServer(f.Server) }}).all(ctx, t)
	if err := f.StartServer(ctx); err != nil {
		t.Fatal(err)
	}
	if err := f.InStep(ctx, 2); err != nil {
		t.Error(err)
	}
	if c, err := flow.Stop(ctx); err != nil || c.Missing() > 0 || c.Sent < 100 {
		t.Errorf("%v, %v", c, err)
	}
}

// flowing is a fabric of two nodes, with packets from a pod of the second to one of
// the first.
func flowing(ctx context.Context, t *testing.T) (*lab.Fabric, *lab.Flow) {
	t.Helper()
	bin, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	f, err := lab.NewFabric(ctx, bin, lab.Layout{Nodes: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := f.StartServer(ctx); err != nil {
		t.Fatal(err)
	}
	var pods []*lab.Pod
	for _, h := range f.Nodes {
		if err := f.StartAgent(ctx, h); err != nil {
			t.Fatal(err)
		}
		p, err := f.NewPod(ctx, h, "web", nil)
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, p)
	}
	if err := f.InStep(ctx, 2); err != nil {
		t.Fatal(err)
	}
	flow, err := lab.StartFlow(pods[1].Host, pods[0].Addrs[0], 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	return f, flow
}

// halfWritten is one folder and who starts over it.
type halfWritten struct {
	*lab.Fabric
	dir   string
	log   string // beside the folder
	start func() (*lab.Process, error)
}

func (w *halfWritten) all(ctx context.Context, t *testing.T) {
	t.Helper()
	good := w.dir + ".good"
	if out, err := w.Server.Run(ctx, "cp", "-a", w.dir, good); err != nil {
		t.Fatal(err, out)
	}
	var files []string
	if err := filepath.WalkDir(good, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "lock" { // nothing is kept in a lock
			files = append(files, strings.TrimPrefix(path, good+"/"))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, d := range damages {
			if out, err := w.Server.Run(ctx, "sh", "-c", "rm -rf "+w.dir+" && cp -a "+good+" "+w.dir); err != nil {
				t.Fatal(err, out)
			}
			began := time.Now()
			said, err := w.one(ctx, file, d.do)
			if err != nil {
				t.Errorf("%s, %s: %v", file, d.what, err)
			}
			t.Logf("%s %s, %s: %s", began.Format("15:04:05.000"), file, d.what, said)
		}
	}
	if out, err := w.Server.Run(ctx, "sh", "-c", "rm -rf "+w.dir+" && mv "+good+" "+w.dir); err != nil {
		t.Fatal(err, out)
	}
}

// says is an error with something to do behind it.
var says = regexp.MustCompile(`(?s);|: .*(move|remove|put|copy|restore|start|run)`)

// one starts over one damaged file, and returns what was said when it ended.
func (w *halfWritten) one(ctx context.Context, file string, damage func([]byte) []byte) (said string, err error) {
	path := filepath.Join(w.dir, file)
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	b = damage(b)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return "", err
	}
	log := filepath.Join(filepath.Dir(w.dir), w.log)
	before, err := os.ReadFile(log)
	if err != nil {
		return "", err
	}
	p, err := w.start()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := p.Ready(ctx); err == nil {
		return "came up", p.Stop(patience)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Kill()
		return "", fmt.Errorf("neither came up nor ended: %s", p.Tail(3))
	}
	all, err := os.ReadFile(log)
	if err != nil {
		return "", err
	}
	last := strings.TrimPrefix(string(all), string(before))
	// etcd's log repairs itself, and etcd does not say which of its files it means.
	inEtcd := strings.HasPrefix(file, "etcd/")
	switch after, err := os.ReadFile(path); {
	case strings.Contains(last, "goroutine "):
		return last, fmt.Errorf("it panicked: %s", last)
	case !strings.Contains(last, path) && !(inEtcd && strings.Contains(last, filepath.Join(w.dir, "etcd"))):
		return last, fmt.Errorf("ended without naming the file: %s", last)
	case !says.MatchString(last):
		return last, fmt.Errorf("ended without saying what to do: %s", last)
	case !inEtcd && (err != nil || !bytes.Equal(after, b)):
		return last, fmt.Errorf("ended, and the file is another than before (%v): %s", err, last)
	}
	return last, nil
}
