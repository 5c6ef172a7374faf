package detached

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/weft-net/weft/agent/dbus"
)

// systemd's manager, and where it listens to root without a bus.
const (
	manager        = "org.freedesktop.systemd1"
	managerPath    = "/org/freedesktop/systemd1"
	managerPrivate = "/run/systemd/private"
)

// findSystemd is where systemd's manager listens; empty where it does not run, or what
// it starts would be in another network namespace than this agent.
func findSystemd() string {
	ours, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return ""
	}
	if its, err := os.Readlink("/proc/1/ns/net"); err != nil || its != ours {
		return ""
	}
	if _, err := os.Lstat(managerPrivate); err != nil {
		return ""
	}
	return managerPrivate
}

// job has systemd start or stop the unit of a process, and waits for the end of that: the
// unit is of a type that is started when the process says that it is ready.
func (s *Starter) job(ctx context.Context, member, name string) error {
	unit := s.cfg.Kind.Unit(name)
	fails := func(err error) error {
		return fmt.Errorf("detached: systemd: %s of %s: %w; look: systemctl status %s", member, unit, err, unit)
	}
	c, err := dbus.Direct(ctx, s.cfg.Systemd)
	if err != nil {
		return fails(err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	job, err := c.Call(manager, dbus.Call{Path: managerPath, Interface: manager + ".Manager", Member: member, Args: []any{unit, "replace"}})
	if answered := (*dbus.Error)(nil); errors.As(err, &answered) && answered.Name == manager+".NoSuchUnit" {
		if member == "StopUnit" {
			return nil
		}
		return fmt.Errorf("detached: systemd has no unit %s: put deploy/systemd/%s where weft-agent.service is, then systemctl daemon-reload: %w", unit, s.cfg.Kind.UnitFile, err)
	}
	if err != nil {
		return fails(err)
	}
	// Its id, its path, the unit, and what became of it.
	ended, err := c.Wait("JobRemoved", func(v []string) bool { return len(v) == 4 && v[1] == job })
	if err == nil && ended[3] != "done" {
		err = fmt.Errorf("job %s", ended[3])
	}
	if err != nil {
		return fails(err)
	}
	return nil
}
