package integration

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// front reads a front end: socket@s1, port@s1 (asked from s1) and port@s1:n2 (n2's
// agent shall dial).
func (s *scenario) front(name string) (lab.Front, *lab.Host, error) {
	kind, at, _ := strings.Cut(name, "@")
	server, node, named := strings.Cut(at, ":")
	h, err := s.host(server)
	if err != nil {
		return lab.Front{}, nil, err
	}
	var f lab.Front
	switch kind {
	case "socket":
		f = s.SocketFront(h)
	case "port":
		f = s.PortFront(h, h)
	default:
		return lab.Front{}, nil, fmt.Errorf("no front end %q: socket@s1, port@s1 or port@s1:n2", name)
	}
	if named {
		f = f.Via(node)
	}
	return f, h, nil
}

// web start HOST PORT: an HTTP service on every address of a host or pod.
func (s *scenario) web(_ context.Context, args []string) (string, error) {
	h, err := s.host(args[1])
	if err != nil {
		return "", err
	}
	port, err := strconv.ParseUint(args[2], 10, 16)
	if err != nil {
		return "", err
	}
	addrs := s.addrs(args[1])
	if len(args) > 3 {
		a, err := netip.ParseAddr(args[3])
		if err != nil {
			return "", err
		}
		addrs = []netip.Addr{a}
	}
	for _, a := range addrs {
		if _, err := lab.StartWeb(h, netip.AddrPortFrom(a, uint16(port))); err != nil {
			return "", err
		}
	}
	return "", nil
}

// get FRONT URL: a page through a front end; konnectivity@s1 is Konnectivity's own
// client on the socket konnectivity.sock of the server's data folder.
func (s *scenario) get(ctx context.Context, args []string) (string, error) {
	if server, ok := strings.CutPrefix(args[0], "konnectivity@"); ok {
		h, err := s.host(server)
		if err != nil {
			return "", err
		}
		return h.Run(ctx, filepath.Join(s.bin, "konnectivity"), filepath.Join(s.DataDir(h), "konnectivity.sock"), args[1])
	}
	f, _, err := s.front(args[0])
	if err != nil {
		return "", err
	}
	return f.Get(ctx, args[1])
}

// connect [within=SECONDS] FRONT HOST:PORT: a connection that is closed again, or
// the refusal. What nothing answers is given up after the time.
func (s *scenario) connect(ctx context.Context, args []string) (string, error) {
	if wait, ok := strings.CutPrefix(args[0], "within="); ok {
		d, err := time.ParseDuration(wait + "s")
		if err != nil {
			return "", err
		}
		within, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		ctx, args = within, args[1:]
	}
	f, _, err := s.front(args[0])
	if err != nil {
		return "", err
	}
	c, err := f.Connect(ctx, args[1])
	if err != nil {
		return "", err
	}
	return "200\n", c.Close()
}

// raw FRONT TEXT: sends what is no proper request (Go's escapes are read) and prints
// the head of the answer.
func (s *scenario) raw(ctx context.Context, args []string) (string, error) {
	f, _, err := s.front(args[0])
	if err != nil {
		return "", err
	}
	text, err := strconv.Unquote(`"` + args[1] + `"`)
	if err != nil {
		return "", err
	}
	if len(args) > 2 {
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return "", err
		}
		text = strings.Replace(text, "{long}", strings.Repeat("x", n), 1)
	}
	return f.Raw(ctx, text)
}

// stream start NAME FRONT URL: lines (a web's /ticks) until `stream stop NAME`, which
// fails if they broke off; `stream broken NAME` waits until they do.
func (s *scenario) stream(ctx context.Context, args []string) (string, error) {
	if args[0] == "start" {
		f, h, err := s.front(args[2])
		if err != nil {
			return "", err
		}
		s.streams[args[1]], err = lab.StartReader(h, f, args[3])
		return "", err
	}
	r, ok := s.streams[args[1]]
	if !ok {
		return "", fmt.Errorf("no stream %q", args[1])
	}
	delete(s.streams, args[1])
	switch args[0] {
	case "stop":
		return r.Stop(ctx)
	case "broken":
		return r.Broken(ctx)
	}
	return "", fmt.Errorf("stream: start, stop or broken, not %q", args[0])
}

// stall COUNT FRONT URL: so many clients that ask for an endless page (a web's
// /bytes) and never read, until the scenario's end.
func (s *scenario) stall(ctx context.Context, args []string) (string, error) {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return "", err
	}
	f, h, err := s.front(args[1])
	if err != nil {
		return "", err
	}
	for range n {
		if _, err := lab.StartStaller(ctx, h, f, args[2]); err != nil {
			return "", err
		}
	}
	return "", nil
}

// proxy start [USER:PASSWORD [garbage|dead]] | stop | asked: the proxy on p1, and
// what it was asked for.
func (s *scenario) proxy(_ context.Context, args []string) (string, error) {
	switch args[0] {
	case "start":
		var user, password string
		var manner lab.Manner
		if len(args) > 1 {
			user, password, _ = strings.Cut(args[1], ":")
		}
		if len(args) > 2 {
			manner = lab.Manner(args[2])
		}
		var err error
		s.relay, err = lab.StartProxy(s.Proxy, user, password, manner)
		return "", err
	case "stop":
		s.relay.Close()
		return "", nil
	case "asked":
		return s.relay.Asked(), nil
	}
	return "", fmt.Errorf("proxy: start, stop or asked, not %q", args[0])
}

// environ HOST [NAME=value …]: of what starts on it from now on.
func (s *scenario) environ(_ context.Context, args []string) (string, error) {
	h, err := s.host(args[0])
	if err != nil {
		return "", err
	}
	h.Env = args[1:]
	return "", nil
}
