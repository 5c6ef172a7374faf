package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// Status tells of a fault of the host, and of its end, within promised. Scenarios
// fail at five times that, which is what a machine five times slower needs; what it
// took is written to the file that WEFT_FAULTS names, for make bench ONLY=hostfaults.
const (
	promised = 5 * time.Second
	slowest  = 5 * promised
)

// told is a problem as status tells it.
type told struct {
	Node, Subject, Cause, Remedy string
}

// fault named PATTERN: weft status names a problem whose subject, cause and remedy
// match, as SUBJECT: CAUSE -> REMEDY;
// the time is counted from the end of the command before.
// fault mend HOST [path=DIR] [in=PROCESS]: types, word for word, what status says
// mends the problem named last: on the host, with commands of DIR first (LAB tells
// them the lab's folder), in the mount namespace of a process. A flag of weft-agent
// has the agent started with it.
// fault gone: status names no problem with that cause any more.
func (s *scenario) fault(ctx context.Context, args []string) (string, error) {
	switch args[0] {
	case "named":
		return s.named(ctx, strings.Join(args[1:], " "))
	case "mend":
		return s.mend(ctx, args[1], args[2:])
	case "gone":
		return s.gone(ctx)
	}
	return "", fmt.Errorf("fault: named, mend or gone, not %q", args[0])
}

// problems are all that status tells.
func (s *scenario) problems(ctx context.Context) ([]told, error) {
	out, err := s.Weft(ctx, "status", "-o", "json")
	if !strings.HasPrefix(out, "{") {
		return nil, fmt.Errorf("weft status: %w: %s", err, out)
	}
	var status struct{ Problems []told }
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return nil, fmt.Errorf("weft status: %w: %s", err, out)
	}
	return status.Problems, nil
}

func (s *scenario) named(ctx context.Context, pattern string) (string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return "", err
	}
	began := time.Now()
	if err := lab.Until(ctx, pattern, func() (string, error) {
		all, err := s.problems(ctx)
		i := slices.IndexFunc(all, func(p told) bool { return re.MatchString(p.Subject + ": " + p.Cause + " -> " + p.Remedy) })
		if err != nil || i < 0 {
			return fmt.Sprint(all), errors.Join(lab.ErrNotYet, err)
		}
		s.problem = all[i]
		return "", nil
	}); err != nil {
		return "", err
	}
	return s.took("named", began)
}

func (s *scenario) gone(ctx context.Context) (string, error) {
	began := time.Now()
	if err := lab.Until(ctx, "the end of: "+s.problem.Cause, func() (string, error) {
		all, err := s.problems(ctx)
		if err != nil || slices.ContainsFunc(all, func(p told) bool { return p.Subject == s.problem.Subject && p.Cause == s.problem.Cause }) {
			return fmt.Sprint(all), errors.Join(lab.ErrNotYet, err)
		}
		return "", nil
	}); err != nil {
		return "", err
	}
	return s.took("gone", began)
}

// took tells how long status took, and fails if that was too long.
func (s *scenario) took(what string, began time.Time) (string, error) {
	took := time.Since(began)
	line := fmt.Sprintf("%s\t%.2f\t%s: %s\t%s\n", what, took.Seconds(), s.problem.Subject, s.problem.Cause, s.problem.Remedy)
	if took > slowest {
		return line, fmt.Errorf("status took %v, which is more than five times %v", took, promised)
	}
	if path := os.Getenv("WEFT_FAULTS"); path != "" {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return line, err
		}
		defer f.Close()
		if _, err := f.WriteString(line); err != nil {
			return line, err
		}
	}
	return line, nil
}

// command is what of a remedy is typed: what stands after a condition, and after
// another way to the same.
func (p told) command() string {
	c := p.Remedy
	if strings.HasPrefix(c, "if ") {
		_, c, _ = strings.Cut(c, ": ")
	}
	if _, or, ok := strings.Cut(c, ", or: "); ok {
		return or
	}
	return c
}

func (s *scenario) mend(ctx context.Context, name string, how []string) (string, error) {
	h, err := s.host(name)
	if err != nil {
		return "", err
	}
	command := s.problem.command()
	if flags, ok := strings.CutPrefix(command, "weft-agent "); ok {
		if err := s.Agents[name].Stop(patience); err != nil {
			return command, err
		}
		return command, s.StartAgent(ctx, h, strings.Fields(flags)...)
	}
	path := ""
	var enter []string
	for _, w := range how {
		switch key, value, _ := strings.Cut(w, "="); key {
		case "path":
			path = value + ":"
		case "in":
			enter = []string{"nsenter", "-t", fmt.Sprint(s.started[value].Pid()), "-m"}
		default:
			return "", fmt.Errorf("fault mend: path=DIR or in=PROCESS, not %q", w)
		}
	}
	script := filepath.Join(h.Dir(), "mend.sh")
	if err := os.WriteFile(script, []byte(command+"\n"), 0o644); err != nil {
		return "", err
	}
	path = "PATH=" + path + filepath.Clean(s.bin) + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin"
	out, err := h.Run(ctx, append(enter, "env", path, "LAB="+s.Dir, "WEFT_CONFIG="+filepath.Join(s.ServerDir(), "admin.yaml"), "sh", script)...)
	return command + "\n" + out, err
}
