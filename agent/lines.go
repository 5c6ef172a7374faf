package agent

import (
	"github.com/weft-net/weft/agent/local"
	"github.com/weft-net/weft/proto/note"
)

// lines is what the agent runs with, a line a setting, without secrets.
func (c Config) lines() []string {
	out := note.Settings(c)
	for _, s := range c.Servers {
		if p := c.proxies.For(s); p != nil {
			out = append(out, "Proxy of "+s+": "+p.String())
		}
	}
	return out
}

// tail is Tail as what local asks.
func (c Config) tail() local.Log {
	if c.Tail == nil {
		return nil
	}
	return c.Tail
}
