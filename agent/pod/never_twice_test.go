package pod

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/schema"
	"pgregory.net/rapid"
)

// TestNeverTwice walks through adds, deletes, deaths of namespaces, failures,
// crashes at every step, lost answers, damaged records, reboots, leases that change, and
// a folder that is replaced by an old copy of it, many at once, and asks an independent
// model after each whether an address is with two pods.
func TestNeverTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "weft-pod-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &model{w: newWorld(), t: t, dir: dir, told: map[string][]netip.Addr{}}
		m.k = m.w.open(t, dir)
		t.Repeat(map[string]func(*rapid.T){
			"several": m.several,
			"kill":    func(t *rapid.T) { m.kill(m.container(t)) },
			"crash":   m.crash,
			"damage":  m.damage,
			"reboot":  m.reboot,
			"lost":    m.lost,
			"lease":   m.lease,
			"copy":    m.copy,
			"old":     m.old,
			"fail":    m.fail,
			"pass": func(t *rapid.T) {
				m.w.pass(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
				m.k.Sweep(context.Background())
			},
			"heal": func(*rapid.T) { _ = m.k.Heal(context.Background()) },
			"":     m.invariants,
		})
	})
}

// model is what pods were told: an independent account of who has which address.
type model struct {
	t     *rapid.T
	w     *world
	k     *Keeper
	dir   string
	saved map[string][]byte // a copy of the folder
	mu    sync.Mutex
	told  map[string][]netip.Addr // container -> addresses, from ADD's success to DEL's or the namespace's end
}

func (m *model) container(t *rapid.T) string {
	return fmt.Sprint("c", rapid.IntRange(1, 8).Draw(t, "container"))
}

// several runs a few verbs on different containers side by side.
func (m *model) several(t *rapid.T) {
	n := rapid.IntRange(1, 5).Draw(t, "commands")
	first := rapid.IntRange(1, 8).Draw(t, "first")
	var wg sync.WaitGroup
	for i := range n {
		container, del := fmt.Sprint("c", (first+i)%8+1), rapid.Bool().Draw(t, "del")
		wg.Go(func() { m.verb(container, del) })
	}
	wg.Wait()
}

func (m *model) verb(container string, del bool) {
	defer func() {
		if p := recover(); p != nil && p != (crashed{}) {
			panic(p)
		}
	}()
	netns := "/ns/" + container
	if del {
		m.mu.Lock()
		delete(m.told, container) // the runtime gave it up; its veth may still be there
		m.mu.Unlock()
		m.k.Serve(context.Background(), request(cniwire.Del, container, netns, plainConfig))
		return
	}
	if _, err := m.w.Identify(netns); err != nil {
		m.w.netns(netns)
	}
	resp := m.k.Serve(context.Background(), request(cniwire.Add, container, netns, plainConfig))
	if resp.Error == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.told[container] = addrsOf(resp.Result)
	}
}

func (m *model) kill(container string) {
	m.w.kill("/ns/" + container)
	delete(m.told, container)
}

// crash lets the agent die, perhaps in the middle of a verb, and start again.
func (m *model) crash(t *rapid.T) {
	m.w.crash = rapid.SampledFrom([]string{"", "before attach", "after attach", "before detach", "after detach", "sync"}).Draw(t, "at")
	container := m.container(t)
	m.verb(container, rapid.Bool().Draw(t, "del"))
	m.w.crash = ""
	m.k = m.w.open(t, m.dir)
}

// damage lets the agent die and find the file of a record not as it was.
func (m *model) damage(t *rapid.T) {
	files, err := os.ReadDir(m.k.Dir)
	if err != nil || len(files) == 0 {
		t.Skip("no file", err)
	}
	name := filepath.Join(m.k.Dir, rapid.SampledFrom(files).Draw(t, "file").Name())
	b, err := os.ReadFile(name)
	if err != nil || len(b) == 0 {
		t.Skip("nothing to damage", err)
	}
	at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
	switch rapid.SampledFrom([]string{"cut", "empty", "garbage", "bit"}).Draw(t, "how") {
	case "cut":
		b = b[:at]
	case "empty":
		b = nil
	case "garbage":
		copy(b[at:], rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "garbage"))
	case "bit":
		b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if m.k, err = m.w.tryOpen(m.dir); errors.As(err, new(schema.Newer)) {
		if err := os.WriteFile(name, nil, 0o600); err != nil { // a bit made a later schema of it: nothing starts
			t.Fatal(err)
		}
		m.k = m.w.open(t, m.dir)
	} else if err != nil {
		t.Fatal(err)
	}
}

func (m *model) reboot(t *rapid.T) {
	m.w.reboot()
	clear(m.told)
	m.k = m.w.open(t, m.dir)
}

// lost lets the runtime not learn of an ADD that succeeded, because either died then.
func (m *model) lost(t *rapid.T) {
	container := m.container(t)
	if _, told := m.told[container]; told {
		return
	}
	m.verb(container, false)
	delete(m.told, container)
	m.k = m.w.open(t, m.dir)
}

// leases are what the node may have: its first prefixes, one more, others, and none of
// a family.
var leases = [][]string{
	{"10.42.1.0/29", "fd42:42:0:1::/64"},
	{"10.42.1.0/29", "10.42.2.0/29", "fd42:42:0:1::/64"},
	{"10.42.3.0/29", "fd42:42:0:3::/64"},
	{"10.42.1.0/29"},
	{"10.42.2.0/29", "10.42.1.0/29"},
}

// lease gives the node another lease, of which some drains.
func (m *model) lease(t *rapid.T) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.lease, m.w.shut = nil, nil
	for _, text := range rapid.SampledFrom(leases).Draw(t, "lease") {
		p := netip.MustParsePrefix(text)
		if m.w.lease = append(m.w.lease, p); rapid.IntRange(0, 3).Draw(t, "drains") == 0 {
			m.w.shut = append(m.w.shut, p)
		}
	}
}

// copy saves the folder.
func (m *model) copy(t *rapid.T) {
	files, err := os.ReadDir(m.k.Dir)
	if err != nil {
		t.Fatal(err)
	}
	m.saved = map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(m.k.Dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		m.saved[f.Name()] = b
	}
}

// old lets the agent die, and find the copy in the place of its folder, or nothing.
func (m *model) old(t *rapid.T) {
	if err := os.RemoveAll(m.k.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(m.k.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range m.saved {
		if err := os.WriteFile(filepath.Join(m.k.Dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.k = m.w.open(t, m.dir)
}

// fail lets one verb meet a kernel or a loop that refuses.
func (m *model) fail(t *rapid.T) {
	broken := errors.New("broken")
	switch rapid.IntRange(0, 2).Draw(t, "what") {
	case 0:
		m.w.attachErr = broken
	case 1:
		m.w.detachErr = broken
	case 2:
		m.w.syncErr = broken
	}
	m.verb(m.container(t), rapid.Bool().Draw(t, "del"))
	m.w.attachErr, m.w.detachErr, m.w.syncErr = nil, nil, nil
}

func (m *model) invariants(t *rapid.T) {
	if len(m.w.broken) > 0 {
		t.Fatalf("in the kernel: %v", m.w.broken)
	}
	owner := map[netip.Addr]string{}
	for container, addrs := range m.told {
		_, unreadable := m.k.asides[ID{container, "eth0"}.HostDev()]
		if e := m.k.entry(ID{container, "eth0"}); !unreadable && e == nil || e != nil && !slices.Equal(e.Addrs, addrs) {
			t.Fatalf("%s was told %v, the records have %+v", container, addrs, e)
		}
		for _, a := range addrs {
			if other, ok := owner[a]; ok {
				t.Fatalf("%v was told to %s and %s", a, other, container)
			}
			owner[a] = container
			if a.Is4() && a.As4()[3]&7 == 0 || a.Is6() && strings.HasSuffix(a.String(), "::") {
				t.Fatalf("the fabric address %v was given to %s", a, container)
			}
		}
	}
}
