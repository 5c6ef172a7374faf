package apart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/relay"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/tunnel"
)

// Names in the run folder.
const (
	socketName = "relay.sock"
	lockName   = "relay.lock"
)

// Socket is where the process of a run folder listens.
func Socket(runDir string) string { return filepath.Join(runDir, socketName) }

// Lock is the file that the process of a run folder holds, with its pid.
func Lock(runDir string) string { return filepath.Join(runDir, lockName) }

// Lines keep connections to servers' relays: uplink.Relays.
type Lines interface {
	Run(ctx context.Context) error
	Set(servers []string, apart time.Duration)
	Renewed()
	Alive(server string)
	Moved(has func(netip.Addr) bool)
}

// Opener says how a connection to a server's relay is opened, and what serves it:
// relay.Relay.Tunnel.
type Opener func() (tunnel.Config, func(ctx context.Context, c *tunnel.Conn, server string))

// ProcessConfig makes a process.
type ProcessConfig struct {
	RunDir  string
	Release string
	Log     *slog.Logger
	// Parts opens the folder of a node, and makes what keeps its connections.
	Parts func(node, dataDir string, open Opener) (relay.Folder, Lines)
}

// process is what the process holds.
type process struct {
	cfg   ProcessConfig
	life  context.Context // Serve's
	told  atomic.Pointer[told]
	going sync.WaitGroup

	mu    sync.Mutex // guards all below
	relay *relay.Relay
	lines Lines
	now   *attendance // the agent that is connected; nil: none
	stops error       // why the process cannot go on
	end   context.CancelFunc
}

// Serve is all that the process does, until ctx ends. ready is called when an agent can
// speak with it. Whoever calls it holds Lock.
func Serve(ctx context.Context, c ProcessConfig, ready func() error) error {
	if err := os.Remove(Socket(c.RunDir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("apart: what a process before left: %w", err)
	}
	l, err := net.Listen("unix", Socket(c.RunDir))
	if err != nil {
		return fmt.Errorf("apart: listen for the agent: %w", err)
	}
	defer l.Close()
	if err := os.Chmod(Socket(c.RunDir), 0o600); err != nil {
		return fmt.Errorf("apart: %w", err)
	}
	p := &process{cfg: c}
	p.life, p.end = context.WithCancel(ctx)
	defer p.end()
	p.told.Store(&told{})
	stop := context.AfterFunc(p.life, func() { l.Close() })
	defer stop()
	if err := ready(); err != nil {
		return err
	}
	p.accept(l)
	p.end()
	p.going.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stops
}

// accept attends to agents, the newest of which is the one that is heard.
func (p *process) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		a := newAttendance(p, c)
		p.mu.Lock()
		was := p.now
		p.now = a
		p.mu.Unlock()
		if was != nil {
			was.close()
		}
		p.going.Go(a.run)
	}
}

// left notes that an agent has gone.
func (p *process) left(a *attendance) {
	p.mu.Lock()
	if p.now == a {
		p.now = nil
	}
	p.mu.Unlock()
}

func (p *process) agent() *attendance {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// fail ends the process: the agent makes another.
func (p *process) fail(err error) {
	p.mu.Lock()
	p.stops = errors.Join(p.stops, err)
	p.mu.Unlock()
	p.end()
}

// begin makes what carries, when the node is told first.
func (p *process) begin() (*relay.Relay, Lines, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.relay != nil {
		return p.relay, p.lines, nil
	}
	of := p.told.Load().node
	var carrier *relay.Relay
	folder, lines := p.cfg.Parts(of.Node, of.DataDir, func() (tunnel.Config, func(context.Context, *tunnel.Conn, string)) { return carrier.Tunnel() })
	carrier, err := relay.New(relay.Config{
		Node: of.Node, Folder: folder, Log: p.cfg.Log,
		Device:   func(slot uint8) uint16 { return p.told.Load().node.Devices[slot] },
		Intent:   func() (intent.Node, bool) { return p.told.Load().intent, true },
		Straight: func(name string) bool { return p.told.Load().straight(name) },
		Secret:   func(name string, slot uint8) ([32]byte, bool) { return p.told.Load().secret(name, slot) },
		Probe:    p.probed, OnChange: p.changed,
	})
	if err != nil {
		return nil, nil, err
	}
	p.relay, p.lines = carrier, lines
	for _, run := range []func(context.Context) error{carrier.Run, lines.Run} {
		p.going.Go(func() {
			if err := run(p.life); err != nil {
				p.fail(err)
			}
		})
	}
	p.cfg.Log.Info("relay process began", note.Node, of.Node)
	return carrier, lines, nil
}

// probed takes a probe that came over a relay. Without an agent nobody wants it.
func (p *process) probed(via mesh.Via, name string, slot uint8, b []byte) {
	if a := p.agent(); a != nil {
		a.out.probe(probe{via, name, slot, b})
	}
}

// changed has the agent told which servers there are.
func (p *process) changed() {
	if a := p.agent(); a != nil {
		signal(a.tell)
	}
}

// signal fills a channel that has room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
