package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
)

const (
	sysctlName = "sysctl.json"
	procSys    = "/proc/sys/"
)

// settings remembers foreign sysctls as they were before weft changed them.
type settings struct {
	dir *datadir.Dir

	mu   sync.Mutex
	old  map[string]string // path below /proc/sys: value
	seen map[string]string // what they were when stirred looked
}

type settingsFile struct {
	Schema int               `json:"schema"`
	Old    map[string]string `json:"old"`
}

// openSettings reads the record. A damaged one is set aside: it must not keep a
// node's data path away.
func openSettings(dir *datadir.Dir, log *slog.Logger) (*settings, error) {
	s := &settings{dir: dir, old: map[string]string{}}
	b, err := dir.Read(sysctlName)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("agent: recorded settings: %w", err)
	}
	f, err := decodeSettings(b)
	if newer := (schema.Newer{}); errors.As(err, &newer) {
		newer.What = dir.Path(sysctlName)
		return nil, fmt.Errorf("agent: recorded settings: %w", newer)
	}
	if err != nil {
		to, aside := dir.SetAside(sysctlName)
		log.Error("recorded settings unreadable", note.Path, to, note.Err, errors.Join(err, aside), note.Do, "cleanup cannot put these settings back; look into the file")
		return s, aside
	}
	s.old = f.Old
	return s, nil
}

// decodeSettings reads the file. Only settings of the network are ever put back,
// so nothing else is read.
func decodeSettings(b []byte) (settingsFile, error) {
	var f settingsFile
	if err := json.Unmarshal(b, &f); err != nil {
		return settingsFile{}, fmt.Errorf("not a file of settings: %w", err)
	}
	if err := schema.Settings.Check("it", f.Schema); err != nil {
		return settingsFile{}, err
	}
	for path, value := range f.Old {
		if !strings.HasPrefix(path, "net/") || strings.Contains(path, "..") || len(path) > 256 || len(value) > 256 {
			return settingsFile{}, fmt.Errorf("%.80q is no setting of the network", path)
		}
	}
	if f.Old == nil {
		f.Old = map[string]string{}
	}
	return f, nil
}

// keep records the value that a setting has now, unless an earlier one is.
func (s *settings) keep(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.old[path]; ok {
		return nil
	}
	b, err := os.ReadFile(procSys + path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the write will say so
	}
	if err != nil {
		return fmt.Errorf("agent: setting %s: %w", path, err)
	}
	old := maps.Clone(s.old)
	old[path] = strings.TrimSpace(string(b))
	if err := s.write(old); err != nil {
		return fmt.Errorf("agent: setting %s is not changed before its old value is on disk: %w", path, err)
	}
	s.old = old
	return nil
}

func (s *settings) write(old map[string]string) error {
	b, err := json.MarshalIndent(settingsFile{schema.Settings.Version(), old}, "", "  ")
	if err != nil {
		return err
	}
	return s.dir.Write(sysctlName, append(b, '\n'))
}

// had tells whether a setting had a value before weft changed it.
func (s *settings) had(path, value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.old[path]; ok {
		return old == value
	}
	b, err := os.ReadFile(procSys + path)
	return err == nil && strings.TrimSpace(string(b)) == value
}

// recorded tells whether weft has changed a setting.
func (s *settings) recorded(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.old[path]
	return ok
}

// switchedForwarding tells whether weft has switched any forwarding on.
func (s *settings) switchedForwarding() bool {
	return s.recorded("net/ipv4/ip_forward") || s.recorded("net/ipv6/conf/all/forwarding")
}

// strict tells whether a device filters by reverse path strictly: the kernel takes
// the higher of its own and all's.
func (s *settings) strict(dev string) bool {
	return max(readSetting("net/ipv4/conf/"+dev+"/rp_filter"), readSetting("net/ipv4/conf/all/rp_filter")) == "1"
}

func readSetting(path string) string {
	b, err := os.ReadFile(procSys + path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// stirred tells whether a setting that weft has changed is another than when it was
// last asked: the kernel tells nobody of most of them.
func (s *settings) stirred() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.seen
	s.seen = make(map[string]string, len(s.old))
	for path := range s.old {
		s.seen[path] = readSetting(path)
	}
	return was != nil && !maps.Equal(was, s.seen)
}

// written are the settings of the host that weft has changed, each with what it is
// now and was before, by path.
func (s *settings) written() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, path := range slices.Sorted(maps.Keys(s.old)) {
		out = append(out, fmt.Sprintf("%s=%s (was %s)", strings.ReplaceAll(path, "/", "."), readSetting(path), s.old[path]))
	}
	return out
}

// weftValues are the host's settings that weft may change, as patterns below
// /proc/sys, and the values that it gives them.
var weftValues = []datapath.Sysctl{
	{Path: "net/ipv4/ip_forward", Value: "1"},
	{Path: "net/ipv6/conf/all/forwarding", Value: "1"},
	{Path: "net/ipv6/conf/*/accept_ra", Value: "2"},
}

// unrestored lists the settings that may be weft's and stay so.
func unrestored() []string {
	var out []string
	for _, w := range weftValues {
		paths, _ := filepath.Glob(procSys + w.Path)
		for _, p := range paths {
			if b, err := os.ReadFile(p); err == nil && strings.TrimSpace(string(b)) == w.Value {
				out = append(out, strings.TrimPrefix(p, procSys)+"="+w.Value)
			}
		}
	}
	return out
}

// notRestored is the error of settings whose old values are not known.
func notRestored(why string) error {
	left := unrestored()
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("agent: cleanup: %s: not put back, if weft changed it: %s; set what the host should have with sysctl -w", why, strings.Join(left, ", "))
}

// restore puts the old values back and forgets them; it says what it did. A
// device that is gone took its settings along.
func (s *settings) restore() (done []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(s.old)) {
		werr := os.WriteFile(procSys+path, []byte(s.old[path]), 0o644)
		switch {
		case werr == nil:
			done = append(done, datapath.Sysctl{Path: path, Value: s.old[path]}.String())
		case !errors.Is(werr, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("agent: put back %s: %w", path, werr))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return done, err
	}
	return done, s.dir.Remove(sysctlName)
}

// foreign tells a setting of the host from one of a device of ours.
func foreign(path string) bool {
	parts := strings.Split(path, "/") // net/ipv4/conf/DEVICE/…
	return len(parts) < 4 || parts[2] != "conf" || !strings.HasPrefix(parts[3], "weft") && !datapath.IsPodLink(parts[3])
}

// effects is the kernel as the loop sees it.
type effects interface {
	Observe(context.Context, datapath.Kinds) (datapath.State, error)
	Apply(context.Context, []datapath.Op) []error
}

// careful records foreign settings before it lets the kernel change them, and
// does not see what belongs to a pod whose ADD or DEL is under way.
type careful struct {
	effects
	settings *settings
	screen   func(datapath.State)
}

// Observe implements the loop's kernel.
func (c careful) Observe(ctx context.Context, kinds datapath.Kinds) (datapath.State, error) {
	s, err := c.effects.Observe(ctx, kinds)
	c.screen(s)
	return s, err
}

// Apply implements the loop's kernel. A setting whose old value could not be
// recorded is left alone.
func (c careful) Apply(ctx context.Context, ops []datapath.Op) []error {
	errs := make([]error, len(ops))
	var pass []datapath.Op
	var at []int
	for i, op := range ops {
		if s, ok := op.New.(datapath.Sysctl); ok && foreign(s.Path) {
			if errs[i] = c.settings.keep(s.Path); errs[i] != nil {
				continue
			}
		}
		pass, at = append(pass, op), append(at, i)
	}
	for i, err := range c.effects.Apply(ctx, pass) {
		errs[at[i]] = err
	}
	return errs
}
