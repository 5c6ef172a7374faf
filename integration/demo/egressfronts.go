package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// fronts gets the page of n2's pod through each front end of server s1.
func (d *egress) fronts(ctx context.Context) error {
	d.say("the page of the pod on n2, through each front end of s1")
	url := fmt.Sprintf("http://%v/", d.page(d.hidden))
	for _, f := range []struct {
		what  string
		front lab.Front
	}{
		{"HTTP CONNECT on the unix socket", d.SocketFront(d.Server)},
		{"HTTP CONNECT on TCP with mutual TLS", d.PortFront(d.Server, d.Servers[1])},
	} {
		page, err := f.front.Get(ctx, url)
		if err != nil {
			return err
		}
		fmt.Printf("\n%s\n%s", f.what, page)
	}
	page, err := d.Server.Run(ctx, filepath.Join(d.Bin, "konnectivity"), filepath.Join(d.DataDir(d.Server), "konnectivity.sock"), url)
	if err != nil {
		return err
	}
	fmt.Printf("\nKonnectivity's own client on its unix socket\n%s", page)
	return d.people(ctx)
}

// people get the page with weft's commands.
func (d *egress) people(ctx context.Context) error {
	at := d.page(d.hidden).String()
	if err := d.shell(ctx, `printf 'GET / HTTP/1.0\r\n\r\n' | weft dial n2 `+at+` | tail -n 1`); err != nil {
		return err
	}
	for _, f := range []struct{ command, ask string }{
		{"weft socks --listen 127.0.0.1:1080", "curl -sS --socks5-hostname 127.0.0.1:1080 http://" + at + "/"},
		{"weft port-forward endpoint/web 8081:8080", "curl -sS http://127.0.0.1:8081/"},
	} {
		if err := d.forwarded(ctx, f.command, f.ask); err != nil {
			return err
		}
	}
	return nil
}

// forwarded asks through a command that runs in the background.
func (d *egress) forwarded(ctx context.Context, command, ask string) error {
	words := strings.Fields(command)
	p, err := d.Server.Start("weft-"+words[1], append([]string{"weft", "--config", d.admin()}, words[1:]...)...)
	if err != nil {
		return err
	}
	defer p.Kill()
	var page string
	err = lab.Until(ctx, command, func() (string, error) {
		var err error
		if page, err = d.Server.Run(ctx, strings.Fields(ask)...); err != nil {
			return page + p.Tail(5), err
		}
		return "", nil
	})
	fmt.Printf("\ns1$ %s &\ns1$ %s\n%s", command, ask, page)
	return err
}

func (d *egress) admin() string { return filepath.Join(d.DataDir(d.Server), "admin.yaml") }

// shell runs a line on s1 and shows it; weft finds its credentials in the
// environment.
func (d *egress) shell(ctx context.Context, line string) error {
	out, err := d.Server.Run(ctx, "env", "WEFT_CONFIG="+d.admin(), "sh", "-c", line)
	fmt.Printf("\ns1$ %s\n%s", line, out)
	return err
}

// refused shows targets that nobody allowed, with the reason and what to do.
func (d *egress) refused(ctx context.Context) error {
	d.say("what nobody allowed is refused, and why is said")
	for _, target := range []string{d.NodeIPs(d.Nodes[1])[0] + ":22", "127.0.0.1:10250", "169.254.169.254:80", "198.51.100.7:443"} {
		if err := d.shell(ctx, "weft dial n2 "+target+" </dev/null"); err == nil {
			return fmt.Errorf("%s was dialled", target)
		}
	}
	_, err := d.SocketFront(d.Server).Connect(ctx, d.NodeIPs(d.Nodes[1])[0]+":22")
	if err == nil {
		return errors.New("port 22 of n2 was dialled")
	}
	fmt.Printf("\nas a kube-apiserver sees it: %v\n", err)
	return d.audited(ctx)
}

// audited shows who was refused what, once it is written down.
func (d *egress) audited(ctx context.Context) error {
	args := []string{"audit", "--object", "node/n2", "--user", "admin"}
	err := lab.Until(ctx, strings.Join(args, " "), func() (string, error) {
		out, err := d.Weft(ctx, args...)
		if err == nil && !strings.Contains(out, "169.254.169.254") {
			err = lab.ErrNotYet
		}
		return out, err
	})
	if err != nil {
		return err
	}
	return d.weft(ctx, args...)
}

const policy = `apiVersion: weft/v1
kind: EgressPolicy
metadata: {name: maintenance}
spec:
  nodes: [n2]
  roles: [admin]
  allow:
  - {cidr: 192.168.2.0/24, ports: [9100]}
`

// policy opens one more port, for some, at once.
func (d *egress) policy(ctx context.Context) error {
	n := d.Nodes[1]
	at := netip.AddrPortFrom(d.kubelet(n).Addr(), 9100)
	if _, err := lab.StartWeb(n, at); err != nil {
		return err
	}
	line := fmt.Sprintf(`printf 'GET / HTTP/1.0\r\n\r\n' | weft dial n2 %v | tail -n 1`, at)
	d.say("an EgressPolicy opens a port of n2, for admins")
	fmt.Printf("\n%s", policy)
	if out, err := d.apply(ctx, policy); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return lab.Until(ctx, "the policy is in force", func() (string, error) {
		out, err := d.Server.Run(ctx, "env", "WEFT_CONFIG="+d.admin(), "sh", "-c", line)
		if err == nil && !strings.Contains(out, "this is") {
			err = lab.ErrNotYet
		}
		if err == nil {
			fmt.Printf("\ns1$ %s\n%s", line, out)
		}
		return out, err
	})
}

const (
	stalling = 64  // clients that ask and never read
	probes   = 200 // requests beside them
)

// stalled has clients ask n2's pod for endless pages and never read, and compares
// what others get beside them.
func (d *egress) stalled(ctx context.Context) error {
	front, url := d.SocketFront(d.Server), fmt.Sprintf("http://%v/", d.page(d.hidden))
	idle, err := latencies(ctx, front, url)
	if err != nil {
		return err
	}
	for range stalling {
		s, err := lab.StartStaller(ctx, d.Server, front, url+"bytes")
		if err != nil {
			return err
		}
		defer s.Close()
	}
	beside, err := latencies(ctx, front, url)
	if err != nil {
		return err
	}
	d.say("%d requests to the pod on n2, each a CONNECT and a page: p50 %v, p99 %v; beside %d clients that never read what they asked for: p50 %v, p99 %v",
		probes, idle[probes/2], idle[probes*99/100], stalling, beside[probes/2], beside[probes*99/100])
	return nil
}

// latencies gets a page again and again, and returns how long each took, sorted.
func latencies(ctx context.Context, front lab.Front, url string) ([]time.Duration, error) {
	var all []time.Duration
	for range probes {
		began := time.Now()
		if _, err := front.Get(ctx, url); err != nil {
			return nil, err
		}
		all = append(all, time.Since(began).Round(10*time.Microsecond))
	}
	slices.Sort(all)
	return all, nil
}
