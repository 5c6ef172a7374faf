package agent

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/detached"
	"github.com/weft-net/weft/agent/proxy"
	"github.com/weft-net/weft/agent/relay"
	"github.com/weft-net/weft/agent/relay/apart"
	"github.com/weft-net/weft/agent/uplink"
	"github.com/weft-net/weft/proto/intent"
)

// relayName is that of the only process of its kind.
const relayName = "relay"

// inherited is how long a relay process that is about to end is waited for.
const inherited = 2 * time.Second

// relayKind is the process that carries relayed packets, of an agent with a run folder.
func relayKind(runDir string) detached.Kind {
	return detached.Kind{
		What: "relay process", UnitFile: "weft-relay.service",
		Args:   func(string) []string { return []string{"relay", "--run-dir=" + runDir} },
		Unit:   func(string) string { return "weft-relay.service" },
		Lock:   func(string) string { return apart.Lock(runDir) },
		Socket: func(string) string { return apart.Socket(runDir) },
	}
}

// RelayProcess says how the process runs that carries relayed packets.
type RelayProcess struct {
	RunDir  string
	Version string
	Log     *slog.Logger
	Ready   io.WriteCloser // where to say that an agent can speak with it; nil: to systemd
}

// RunRelay is that process: it carries what an agent told it last, until ctx ends.
func RunRelay(ctx context.Context, p RelayProcess) error {
	runDir := cmp.Or(p.RunDir, DefaultRunDir)
	lock, err := detached.Hold(apart.Lock(runDir), inherited)
	var proxies *proxy.Environment
	if err == nil {
		defer detached.Release(apart.Lock(runDir), lock)
		proxies, err = proxy.FromEnvironment(os.Getenv)
	}
	if err != nil {
		_ = detached.Ready(p.Ready, err)
		return err
	}
	err = apart.Serve(ctx, apart.ProcessConfig{
		RunDir: runDir, Release: p.Version, Log: p.Log,
		Parts: func(node, dataDir string, open apart.Opener) (relay.Folder, apart.Lines) {
			dir := datadir.Beside(dataDir)
			return dir, uplink.NewRelays(dir, uplink.RelaysConfig{Node: node, Open: open, Proxy: proxies.For, Log: p.Log})
		},
	}, func() error { return detached.Ready(p.Ready, nil) })
	_ = os.Remove(apart.Socket(runDir))
	return err
}

// openRelay makes what speaks with the relay process.
func (a *agent) openRelay() (err error) {
	kind := relayKind(a.cfg.RunDir)
	p := a.pairs
	if p.carrier, err = detached.NewStarter(detached.Config{Kind: kind, Log: a.log, Words: a.dir.Path(""), Ended: p.ended}); err != nil {
		return err
	}
	p.relay = apart.New(apart.Config{
		Node: a.cfg.NodeName, DataDir: a.dir.Path(""), RunDir: a.cfg.RunDir, Release: a.cfg.Version,
		Starter: relayStarter{p.carrier, kind}, Device: p.device, Intent: a.uplink.Intent, Straight: p.straight, Secret: p.secret, Probe: p.probed,
		Servers:  func() ([]string, time.Duration) { return a.uplink.RelayServers(), a.uplink.Status().Apart },
		OnChange: p.kick, OnPort: p.ported, Told: p.carries, Log: a.log,
	})
	return nil
}

// relayStarter starts the one process of relayKind.
type relayStarter struct {
	s    *detached.Starter
	kind detached.Kind
}

// Start implements apart.Starter. One on whose socket nobody listens is ended before,
// unless it ends by itself: a person may have systemd restart it, which a stop would undo.
func (r relayStarter) Start(ctx context.Context) error {
	switch there, listens := r.wait(ctx); {
	case listens:
		return nil
	case there:
		if err := r.s.Stop(ctx, relayName); err != nil {
			return err
		}
	}
	return r.s.Start(ctx, relayName)
}

// wait waits until there is no process, or somebody listens, for as long as one may take
// to end or to begin.
func (r relayStarter) wait(ctx context.Context) (there, listens bool) {
	ctx, cancel := context.WithTimeout(ctx, inherited)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		lock, err := detached.Try(r.kind.Lock(relayName))
		if lock != nil {
			detached.Release(r.kind.Lock(relayName), lock)
			return false, false
		}
		var d net.Dialer
		if c, dialed := d.DialContext(ctx, "unix", r.kind.Socket(relayName)); err != nil && dialed == nil {
			c.Close()
			return true, true
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return true, false
}

// Stop implements apart.Starter.
func (r relayStarter) Stop(ctx context.Context) error { return r.s.Stop(ctx, relayName) }

// Kill implements apart.Starter.
func (r relayStarter) Kill(ctx context.Context, why string) error {
	return r.s.Kill(ctx, relayName, why)
}

// Follow implements apart.Starter.
func (r relayStarter) Follow() error { return r.s.Follow(relayName) }

// beside hands on what connections of the relay process rest on. The uplink is made
// before who hears it.
type beside struct{ a *agent }

func (b beside) Kick()                           { b.a.pairs.relay.Kick() }
func (b beside) Renewed()                        { b.a.pairs.relay.Renewed() }
func (b beside) Alive(server string)             { b.a.pairs.relay.Alive(server) }
func (b beside) Moved(has func(netip.Addr) bool) { b.a.pairs.relay.Moved(has) }

// ported runs when a port of a relay is elsewhere than it was thought.
func (p *pairs) ported() {
	p.mu.Lock()
	p.carry = carry{}
	p.mu.Unlock()
	p.changed(true)
}

// carries takes why there is no relay process; nil: there is one.
func (p *pairs) carries(lack error) {
	if lack == nil {
		p.unrelayed.Store(nil)
	} else {
		p.unrelayed.Store(&lack)
	}
	p.kick()
}

// uncarried is that nothing can be relayed.
func (p *pairs) uncarried() []intent.Problem {
	lack := p.unrelayed.Load()
	if lack == nil {
		return nil
	}
	return []intent.Problem{{
		Subject: "relay process", Cause: (*lack).Error(),
		Remedy: "the agent tries again each second; journalctl -u weft-relay; until then pairs that only relays join are apart",
	}}
}
