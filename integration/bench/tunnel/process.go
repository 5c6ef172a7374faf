package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is one of a stack, seen from the driver.
type process struct {
	role string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	log  string
	mu   sync.Mutex // one order at a time
}

// patience is how long an order may take beyond what it was asked to take.
const patience = 60 * time.Second

func start(self, dir, role string, s spec) (*process, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	p := &process{role: role, cmd: exec.Command(self, "role", role, string(b)), log: filepath.Join(dir, role+".log")}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stderr = log
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(bufio.NewReader(out))
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	if _, err := p.answer(20 * time.Second); err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

// ask gives an order and waits for its answer.
func (p *process) ask(ctx context.Context, o order) (answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return answer{}, err
	}
	b, err := json.Marshal(o)
	if err != nil {
		return answer{}, err
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return answer{}, fmt.Errorf("%s: %s: %w; %s", p.role, o.Do, err, p.tail())
	}
	a, err := p.answer(o.For + patience)
	if err != nil {
		return a, fmt.Errorf("%s: %w", o.Do, err)
	}
	return a, nil
}

func (p *process) answer(limit time.Duration) (a answer, err error) {
	t := time.AfterFunc(limit, func() { _ = p.cmd.Process.Kill() })
	defer t.Stop()
	if err := p.out.Decode(&a); err != nil {
		return a, fmt.Errorf("%s gave no answer: %w; %s", p.role, err, p.tail())
	}
	if a.Err != "" {
		return a, fmt.Errorf("%s: %s", p.role, a.Err)
	}
	return a, nil
}

// tail is the end of what the process logged.
func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return "its log ends: " + string(b[max(0, len(b)-600):])
}

func (p *process) look(ctx context.Context, collect bool) (look, error) {
	a, err := p.ask(ctx, order{Do: "look", Collect: collect})
	return a.Look, err
}

func (p *process) freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

func (p *process) thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// end ends the process, by force: what it held is of no use any more.
func (p *process) end() {
	_ = p.in.Close()
	_ = p.cmd.Process.Kill()
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "tunnel:", p.role, err)
	}
}
