package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// cost is what the servers have used.
type cost struct {
	at       time.Time
	cpu      float64 // seconds, user and system
	rss      float64 // KiB
	etcd     float64 // seconds of CPU of an etcd of its own
	load     load
	up, down int64 // bytes of agents
}

// hertz of the counters in /proc/PID/stat: USER_HZ (proc_pid_stat(5)).
const hertz = 100

func (f *fabric) cost() (c cost, err error) {
	c.at = time.Now()
	for _, s := range f.servers {
		cpu, rss, err := usage(s.Pid())
		if err != nil {
			return c, err
		}
		c.cpu, c.rss = c.cpu+cpu, c.rss+rss
	}
	if f.etcd != nil {
		if c.etcd, _, err = usage(f.etcd.Process.Pid); err != nil {
			return c, err
		}
	}
	c.load = f.meter.read()
	answers, err := f.ask(order{Do: "bytes"})
	for _, a := range answers {
		c.up, c.down = c.up+a.Up, c.down+a.Down
	}
	return c, err
}

// usage of a process: seconds of CPU, and resident KiB.
func usage(pid int) (cpu, rss float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
	number := func(i int) float64 {
		v, _ := strconv.ParseFloat(fields[i], 64)
		return v
	}
	return (number(11) + number(12)) / hertz, number(21) * float64(os.Getpagesize()) / 1024, nil
}

// spent is what was used from one look to another.
func (c cost) spent(before cost) cost {
	return cost{
		cpu: c.cpu - before.cpu, rss: c.rss - before.rss, etcd: c.etcd - before.etcd,
		load: c.load.minus(before.load), up: c.up - before.up, down: c.down - before.down,
	}
}
