package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// player is a process's part: it answers what is not common to all.
type player interface {
	do(context.Context, order) (answer, error)
}

// play is a process of a stack: it starts its part, says so, and answers orders
// until its input ends.
func play(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("role: want a role and a spec")
	}
	var s spec
	if err := json.Unmarshal([]byte(args[1]), &s); err != nil {
		return fmt.Errorf("role %s: %w", args[0], err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p, err := cast(ctx, args[0], s)
	if err != nil {
		return fmt.Errorf("role %s of %s: %w", args[0], s.Contender, err)
	}
	answers := json.NewEncoder(out)
	if err := answers.Encode(answer{}); err != nil {
		return err
	}
	var prof *os.File
	orders := json.NewDecoder(bufio.NewReader(in))
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var a answer
		switch o.Do {
		case "look":
			a, err = p.do(ctx, o)
			lookAt(&a.Look, o.Collect)
		case "profile":
			prof, err = profile(o.Path, prof)
		default:
			a, err = p.do(ctx, o)
		}
		if err != nil {
			a.Err = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

func cast(ctx context.Context, role string, s spec) (player, error) {
	switch role {
	case "target":
		return newTarget(s)
	case "relay":
		return newRelay(s)
	case "client":
		return &client{front: s.Front}, nil
	case "server":
		return newServer(ctx, s)
	case "agent":
		return newAgent(ctx, s)
	}
	return nil, errors.New("no such role")
}

// profile starts a profile of the processor in path, or ends the one that runs.
func profile(path string, running *os.File) (*os.File, error) {
	if running != nil {
		pprof.StopCPUProfile()
		return nil, running.Close()
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return f, pprof.StartCPUProfile(f)
}

func lookAt(l *look, collect bool) {
	if collect {
		runtime.GC() // twice: what finalizers and pools held goes with the second
		runtime.GC()
	}
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	l.Heap, l.Stacks = int64(s[0].Value.Uint64()), int64(s[1].Value.Uint64())
	l.Goroutines = runtime.NumGoroutine()
	l.RSS = resident()
	l.CPU = spent()
	l.At = time.Now().UnixNano()
}

// spent is the processor time of this process so far, seconds, user and system
// (getrusage(2)).
func spent() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// resident is the second number of /proc/self/statm (proc_pid_statm(5)), in bytes.
func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
