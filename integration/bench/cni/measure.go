package main

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cpu is CPU time of plugins with their children, and of an agent.
type cpu struct{ children, agent time.Duration }

func (c cpu) total() time.Duration { return c.children + c.agent }

// cpu is what was spent so far.
func (p *plugin) cpu() (cpu, error) {
	c := cpu{children: childrenCPU()}
	if p.agent == nil {
		return c, nil
	}
	// A process's CPU clock: include/linux/posix-timers.h, CPUCLOCK_SCHED.
	const sched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^p.agent.Pid()<<3|sched), &ts); err != nil {
		return cpu{}, fmt.Errorf("CPU clock of the agent: %w; its last words:\n%s", err, p.agent.Tail(20))
	}
	c.agent = time.Duration(ts.Nano())
	return c, nil
}

// childrenCPU is the CPU time of all children that have ended, with theirs.
func childrenCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u) // fails for a bad pointer only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return s[len(s)/2]
}

func row(name string, values []float64, note string) {
	s := slices.Sorted(slices.Values(values))
	fmt.Printf("%-46s %7.2f / %7.2f / %7.2f   %s\n", name, s[0], median(values), s[len(s)-1], note)
}

func verdict(ok bool, format string, args ...any) string {
	word := "MISSED"
	if ok {
		word = "reached"
	}
	return fmt.Sprintf(format, args...) + ": " + word
}
