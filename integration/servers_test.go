package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weft-net/weft/integration/lab"
)

// control does to a process what a verb says.
func control(verb string, p *lab.Process, start func() error) error {
	if verb == "start" {
		return start()
	}
	if p == nil {
		return fmt.Errorf("%s: it was never started", verb)
	}
	switch verb {
	case "stop":
		return p.Stop(patience)
	case "restart":
		return errors.Join(p.Stop(patience), start())
	case "kill":
		p.Kill()
		return nil
	case "pause":
		return p.Pause()
	case "resume":
		return p.Resume()
	}
	return fmt.Errorf("start, stop, restart, kill, pause or resume, not %q", verb)
}

// server start|launch|stop|restart|kill|pause|resume [s1|all] [flags]: s1 if none
// is named; launch does not wait until it is ready.
func (s *scenario) server(ctx context.Context, args []string) (string, error) {
	verb, hosts, flags := args[0], s.Servers[:1], args[1:]
	if len(flags) > 0 && flags[0] == "all" {
		hosts, flags = s.Servers, flags[1:]
	} else if len(flags) > 0 && !strings.HasPrefix(flags[0], "-") {
		h, err := s.host(flags[0])
		if err != nil {
			return "", err
		}
		hosts, flags = []*lab.Host{h}, flags[1:]
	}
	for _, h := range hosts {
		start := func() error { return s.StartServerOn(ctx, h, flags...) }
		if verb == "launch" {
			if _, err := s.LaunchServer(h, flags...); err != nil {
				return "", err
			}
			continue
		}
		if err := control(verb, s.ServerProcesses[h.Name], start); err != nil {
			return "", fmt.Errorf("server %s: %w", h.Name, err)
		}
	}
	return "", nil
}

// etcd start|stop|kill|pause|resume e1|all: members of store=etcd. start all waits
// until they answer.
func (s *scenario) etcd(ctx context.Context, args []string) (string, error) {
	if args[1] == "all" && args[0] == "start" {
		return "", s.StartEtcd(ctx)
	}
	hosts := s.Etcds
	if args[1] != "all" {
		h, err := s.host(args[1])
		if err != nil {
			return "", err
		}
		hosts = []*lab.Host{h}
	}
	for _, h := range hosts {
		if err := control(args[0], s.EtcdProcesses[h.Name], func() error { return s.LaunchEtcd(h) }); err != nil {
			return "", fmt.Errorf("etcd %s: %w", h.Name, err)
		}
	}
	return "", nil
}

// leader [s1]: prints who leads, or waits until the one named does; `leader not
// s1` waits until another one does.
func (s *scenario) leader(ctx context.Context, args []string) (string, error) {
	if len(args) == 0 {
		h, err := s.Leader(ctx)
		if err != nil {
			return "", err
		}
		return h.Name + "\n", nil
	}
	not := args[0] == "not"
	name := args[len(args)-1]
	var leads string
	err := lab.Until(ctx, "leader "+strings.Join(args, " "), func() (string, error) {
		h, err := s.Leader(ctx)
		if err != nil {
			return "", err
		}
		if leads = h.Name; (leads == name) == not {
			return leads, lab.ErrNotYet
		}
		return "", nil
	})
	return leads + "\n", err
}

// leading is the server that the word {leader} stands for, empty if none leads.
func (s *scenario) leading() string {
	if s.Fabric == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	h, err := s.Leader(ctx)
	if err != nil {
		return ""
	}
	return h.Name
}

// version new|old|next|far: which release the next process, pod and command is of.
func (s *scenario) version(_ context.Context, args []string) (string, error) {
	return "", s.Use(args[0])
}

// weft [@s2] …: the operator's CLI on the first server that runs, or on the one
// named.
func (s *scenario) weft(ctx context.Context, args []string) (string, error) {
	if name, ok := strings.CutPrefix(args[0], "@"); ok {
		h, err := s.host(name)
		if err != nil {
			return "", err
		}
		return s.WeftOn(ctx, h, args[1:]...)
	}
	return s.Weft(ctx, args...)
}
