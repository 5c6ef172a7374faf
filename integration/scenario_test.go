package integration

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/weft-net/weft/integration/lab"
)

// patience bounds every wait of a scenario. It only has to be longer than a slow
// machine needs: how fast things are is measured by the benchmarks. The slowest, one
// that QEMU emulates, has another in WEFT_PATIENCE.
var patience = cmp.Or(asked, 60*time.Second)

var asked, _ = time.ParseDuration(os.Getenv("WEFT_PATIENCE"))

// TestScenarios runs testdata/*.txtar: nodes, wires, commands and what must come
// of them, on real processes, namespaces and packets. WEFT_SCENARIOS names another
// folder of them, for machines that can run what this one may not.
func TestScenarios(t *testing.T) {
	bin, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"weft-server", "weft-agent", "weft-cni", "weft", "etcd"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			t.Fatalf("%v: run make build first, or make test, which does", err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:                cmp.Or(os.Getenv("WEFT_SCENARIOS"), "testdata"),
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			s := &scenario{bin: bin, pods: map[string]*lab.Pod{}, flows: map[string]*lab.Flow{}, streams: map[string]*lab.Reader{}, snoops: map[string]*lab.Snoop{}, started: map[string]*lab.Process{}}
			s.ctx, s.cancel = context.WithCancel(context.Background())
			env.Values[key{}] = s
			env.Setenv("DEPLOY", filepath.Join(filepath.Dir(bin), "deploy"))
			env.Setenv("FIREWALLD", filepath.Join(bin, "firewalld")) // unpacked, not installed: see deps.sh
			env.Setenv("STANDIN", filepath.Join(bin, "standin"))
			env.Setenv("NETWORKMANAGER", filepath.Join(bin, "networkmanager"))
			env.Defer(func() {
				s.cancel()
				if s.Fabric != nil {
					if t.Failed() {
						s.logs(t)
					}
					for len(s.disks) > 0 {
						s.umount(s.disks[0])
					}
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fabric":  command((*scenario).fabric),
			"server":  command((*scenario).server),
			"etcd":    command((*scenario).etcd),
			"leader":  command((*scenario).leader),
			"wire":    command((*scenario).wire),
			"version": command((*scenario).version),
			"agent":   command((*scenario).agent),
			"instep":  command((*scenario).instep),
			"weft":    command((*scenario).weft),
			"on":      command((*scenario).on),
			"until":   command((*scenario).until),
			"pod":     command((*scenario).pod),
			"foreign": command((*scenario).foreign),
			"reach":   command((*scenario).reach),
			"flow":    command((*scenario).flow),
			"reboot":  command((*scenario).reboot),
			"process": command((*scenario).process),
			"disk":    command((*scenario).disk),
			"fault":   command((*scenario).fault),
			"outputs": command((*scenario).outputs),
			"web":     command((*scenario).web),
			"get":     command((*scenario).get),
			"connect": command((*scenario).connect),
			"raw":     command((*scenario).raw),
			"stream":  command((*scenario).stream),
			"stall":   command((*scenario).stall),
			"proxy":   command((*scenario).proxy),
			"environ": command((*scenario).environ),
			"roam":    command((*scenario).roam),
			"snoop":   command((*scenario).snoop),
			"rung":    command((*scenario).rung),
			"rungs":   command((*scenario).rungs),
			"meet":    command((*scenario).meet),
			"replay":  command((*scenario).replay),
			"made":    command((*scenario).made),
		},
	})
}

type key struct{}

// scenario is the state of one script.
type scenario struct {
	*lab.Fabric
	bin     string
	ctx     context.Context
	cancel  context.CancelFunc
	pods    map[string]*lab.Pod
	flows   map[string]*lab.Flow
	started map[string]*lab.Process
	streams map[string]*lab.Reader
	snoops  map[string]*lab.Snoop
	relay   *lab.Proxy
	disks   []string // mounted
	last    string   // what the last command printed
	problem told     // what fault named
}

// command makes a testscript command of a method that returns what it prints.
func command(do func(*scenario, context.Context, []string) (string, error)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		s := ts.Value(key{}).(*scenario)
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		defer cancel()
		for i := range args {
			args[i] = s.expand(args[i])
		}
		out, err := do(s, ctx, args)
		s.last = out
		if out != "" {
			ts.Logf("%s", strings.TrimRight(out, "\n"))
		}
		switch {
		case err != nil && !neg:
			ts.Fatalf("%v", err)
		case err == nil && neg:
			ts.Fatalf("succeeded, which it must not")
		case err != nil:
			s.last += err.Error()
			ts.Logf("%v", err)
		}
	}
}

// expand puts in the first IPv4 and IPv6 address of a pod or node:
// {n1/web:4}, {n2:6}; {dir} is the lab's folder, {leader} the server that leads.
func (s *scenario) expand(arg string) string {
	return regexp.MustCompile(`\{([a-z0-9/]+)(:[46])?\}`).ReplaceAllStringFunc(arg, func(m string) string {
		name, family, _ := strings.Cut(strings.Trim(m, "{}"), ":")
		switch {
		case name == "dir" && s.Fabric != nil:
			return s.Dir
		case name == "leader":
			return s.leading()
		}
		for _, a := range s.addrs(name) {
			if family == "" || a.Is4() == (family == "4") {
				return a.String()
			}
		}
		return m
	})
}

func (s *scenario) addrs(name string) []netip.Addr {
	if p, ok := s.pods[name]; ok {
		return p.Addrs
	}
	if s.Fabric == nil {
		return nil
	}
	var out []netip.Addr
	if h, ok := s.Find(name); ok {
		for _, a := range s.NodeIPs(h) {
			out = append(out, netip.MustParseAddr(a))
		}
	}
	return out
}

func (s *scenario) host(name string) (*lab.Host, error) {
	if p, ok := s.pods[name]; ok {
		return p.Host, nil
	}
	if s.Fabric != nil {
		if h, ok := s.Find(name); ok {
			return h, nil
		}
	}
	return nil, fmt.Errorf("no host or pod %q", name)
}

// fabric nodes=3 servers=3 store=embedded|etcd under=46 cidrs=… mtu=1500; behind=1
// puts the last node behind a router that lets nothing in, and out only what
// out=443|7443|proxy says. nat=public,preserving,symmetric,answering,tcponly,refusing,+ says
// instead what each node stands behind, + being the router of the node before, and
// lan=same that all networks behind routers have the same addresses
func (s *scenario) fabric(ctx context.Context, args []string) (string, error) {
	layout := lab.Layout{Nodes: 2}
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		var err error
		switch name {
		case "nodes":
			layout.Nodes, err = strconv.Atoi(value)
		case "mtu":
			layout.MTU, err = strconv.Atoi(value)
		case "under":
			layout.Under = value
		case "cidrs":
			layout.CIDRs = value
		case "servers":
			layout.Servers, err = strconv.Atoi(value)
		case "store":
			layout.Store = value
		case "behind":
			layout.Behind, err = strconv.Atoi(value)
		case "out":
			layout.Out = lab.Out(value)
		case "nat":
			for _, kind := range strings.Split(value, ",") {
				layout.NATs = append(layout.NATs, lab.NAT(kind))
			}
			layout.Nodes = len(layout.NATs)
		case "lan":
			layout.SameLAN = value == "same"
		default:
			err = fmt.Errorf("fabric: unknown setting %q", a)
		}
		if err != nil {
			return "", err
		}
	}
	var err error
	s.Fabric, err = lab.NewFabric(ctx, s.bin, layout)
	return "", err
}

// agent start|stop|restart|kill|pause|resume n1|all [flags]
func (s *scenario) agent(ctx context.Context, args []string) (string, error) {
	var hosts []*lab.Host
	if args[1] == "all" {
		hosts = s.Nodes
	} else {
		h, err := s.host(args[1])
		if err != nil {
			return "", err
		}
		hosts = []*lab.Host{h}
	}
	for _, h := range hosts {
		start := func() error { return s.StartAgent(ctx, h, args[2:]...) }
		if err := control(args[0], s.Agents[h.Name], start); err != nil {
			return "", err
		}
	}
	return "", nil
}

// reboot n1: the node's processes, pods and kernel state are gone.
func (s *scenario) reboot(ctx context.Context, args []string) (string, error) {
	h, err := s.host(args[0])
	if err != nil {
		return "", err
	}
	for name, p := range s.pods {
		if p.Node == h {
			if err := p.Remove(ctx); err != nil {
				return "", err
			}
			delete(s.pods, name)
		}
	}
	return "", h.Reboot(ctx)
}

// process start NAME HOST command … | process kill NAME
func (s *scenario) process(_ context.Context, args []string) (string, error) {
	switch args[0] {
	case "start":
		h, err := s.host(args[2])
		if err != nil {
			return "", err
		}
		s.started[args[1]], err = h.Start(args[1], args[3:]...)
		return "", err
	case "kill":
		s.started[args[1]].Kill()
		return "", nil
	}
	return "", fmt.Errorf("process: start or kill, not %q", args[0])
}

// instep N: N nodes of N hold the newest revision.
func (s *scenario) instep(ctx context.Context, args []string) (string, error) {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return "", err
	}
	return "", s.InStep(ctx, n)
}

// on HOST command …
func (s *scenario) on(ctx context.Context, args []string) (string, error) {
	h, err := s.host(args[0])
	if err != nil {
		return "", err
	}
	return h.Run(ctx, args[1:]...)
}

// until HOST command …: repeated until it succeeds; with weft for HOST, the CLI.
// `until HOST command … -- pattern` waits for the pattern in its output instead,
// whatever the exit status: weft status tells problems with it.
func (s *scenario) until(ctx context.Context, args []string) (string, error) {
	pattern := regexp.MustCompile("")
	for i, a := range args {
		if a == "--" {
			p, err := regexp.Compile(strings.Join(args[i+1:], " "))
			if err != nil {
				return "", err
			}
			args, pattern = args[:i], p
			break
		}
	}
	began := time.Now()
	var out string
	err := lab.Until(ctx, strings.Join(args, " "), func() (string, error) {
		var err error
		if args[0] == "weft" {
			out, err = s.weft(ctx, args[1:])
		} else {
			out, err = s.on(ctx, args)
		}
		switch matches := pattern.MatchString(out); {
		case pattern.String() == "":
			return out, err
		case !matches:
			return out, fmt.Errorf("no match for %q", pattern)
		}
		return out, nil
	})
	return fmt.Sprintf("%safter %v", out, time.Since(began).Round(time.Millisecond)), err
}

// pod add n1 web [capabilities as JSON] | del n1/web | remove n1/web | check n1/web
func (s *scenario) pod(ctx context.Context, args []string) (string, error) {
	if args[0] == "add" {
		node, err := s.host(args[1])
		if err != nil {
			return "", err
		}
		var capabilities map[string]any
		if len(args) > 3 {
			if err := json.Unmarshal([]byte(args[3]), &capabilities); err != nil {
				return "", err
			}
		}
		p, err := s.NewPod(ctx, node, args[2], capabilities)
		if p != nil {
			s.pods[args[1]+"/"+args[2]] = p
		}
		if err != nil {
			return "", err
		}
		return fmt.Sprint(p.Addrs), nil
	}
	p, ok := s.pods[args[1]]
	if !ok {
		return "", fmt.Errorf("no pod %q", args[1])
	}
	switch args[0] {
	case "readd":
		return "", p.Add(ctx)
	case "del":
		return "", p.Del(ctx)
	case "remove":
		return "", p.Remove(ctx)
	case "check":
		return "", p.Check(ctx)
	}
	return "", fmt.Errorf("pod: add, readd, del, remove or check, not %q", args[0])
}

// reach FROM TO: ping of every address of TO from FROM; TO may be an address.
func (s *scenario) reach(ctx context.Context, args []string) (string, error) {
	from, err := s.host(args[0])
	if err != nil {
		return "", err
	}
	to := s.addrs(args[1])
	if a, err := netip.ParseAddr(args[1]); err == nil {
		to = []netip.Addr{a}
	}
	if len(to) == 0 {
		return "", fmt.Errorf("no address of %q", args[1])
	}
	var all strings.Builder
	for _, a := range to {
		out, err := from.Run(ctx, "ping", "-c", "2", "-i", "0.02", "-W", "2", a.String())
		all.WriteString(out)
		if err != nil {
			return all.String(), err
		}
	}
	return all.String(), nil
}

// flow start NAME FROM ADDRESS [interval]: packets that are sent and answered until
// flow stop NAME. Not one may be lost; after `flow stop NAME DURATION` some may, for no
// longer than that.
func (s *scenario) flow(ctx context.Context, args []string) (string, error) {
	switch args[0] {
	case "start":
		from, err := s.host(args[2])
		if err != nil {
			return "", err
		}
		to, err := netip.ParseAddr(args[3])
		if err != nil {
			return "", err
		}
		every := 10 * time.Millisecond
		if len(args) > 4 {
			if every, err = time.ParseDuration(args[4] + "s"); err != nil {
				return "", err
			}
		}
		s.flows[args[1]], err = lab.StartFlow(from, to, every)
		return "", err
	case "stop":
		f, ok := s.flows[args[1]]
		if !ok {
			return "", fmt.Errorf("no flow %q", args[1])
		}
		delete(s.flows, args[1])
		c, err := f.Stop(ctx)
		gap := time.Duration(0)
		if err == nil && len(args) > 2 {
			gap, err = time.ParseDuration(args[2])
		}
		if err == nil && (c.Missing() > 0 && c.Longest > gap || c.Sent < 10) {
			err = fmt.Errorf("flow %s, a packet each %v: %v; longest gap %v", args[1], f.Every, c, c.Longest)
		}
		return fmt.Sprintf("%v; longest gap %v\n", c, c.Longest.Round(time.Millisecond)), err
	}
	return "", fmt.Errorf("flow: start or stop, not %q", args[0])
}

// disk mount FOLDER SIZE[,nr_inodes=N][,ro] | disk umount FOLDER…: a small disk of its own.
func (s *scenario) disk(_ context.Context, args []string) (string, error) {
	switch args[0] {
	case "mount":
		if err := os.MkdirAll(args[1], 0o755); err != nil {
			return "", err
		}
		options, ro := strings.CutSuffix(args[2], ",ro")
		var flags uintptr
		if ro {
			flags = syscall.MS_RDONLY
		}
		if err := syscall.Mount("weft-t", args[1], "tmpfs", flags, "size="+options); err != nil {
			return "", err
		}
		s.disks = append(s.disks, args[1])
		return "", nil
	case "umount":
		for _, dir := range args[1:] {
			s.umount(dir)
		}
		return "", nil
	}
	return "", fmt.Errorf("disk: mount or umount, not %q", args[0])
}

// umount lets go also of what processes still use.
func (s *scenario) umount(dir string) {
	if i := slices.Index(s.disks, dir); i >= 0 {
		s.disks = slices.Delete(s.disks, i, i+1)
		_ = syscall.Unmount(dir, syscall.MNT_DETACH)
	}
}

// outputs [!] PATTERN: the last command printed it.
func (s *scenario) outputs(_ context.Context, args []string) (string, error) {
	not := args[0] == "!"
	if not {
		args = args[1:]
	}
	re, err := regexp.Compile("(?m)" + strings.Join(args, " "))
	if err != nil {
		return "", err
	}
	last := s.last
	if re.MatchString(last) == not {
		return last, fmt.Errorf("the last output matches %q: %v", re, not)
	}
	return last, nil
}

// logs shows the end of every process's output.
func (s *scenario) logs(t *testing.T) {
	show := func(p *lab.Process) { t.Logf("-- %s\n%s", p.Log, p.Tail(40)) }
	for _, kind := range []map[string]*lab.Process{s.EtcdProcesses, s.ServerProcesses, s.Agents, s.started} {
		for _, name := range slices.Sorted(maps.Keys(kind)) {
			show(kind[name])
		}
	}
}
