package server

import (
	"context"
	"net/http"

	"github.com/weft-net/weft/server/relay"
)

// methodRelay is what identity's rule for relay.Path is of.
const methodRelay = "/weft.v1.Mesh/Relay"

// openRelay makes the room over which nodes reach each other that have no other way.
func (r *rooms) openRelay() {
	r.relay = relay.New(relay.Config{
		Server: r.site.own.Name, Rate: r.relayRate(), Log: r.Log,
		Hold: func(ctx context.Context, req *http.Request) (string, context.Context, func(), error) {
			return hold(ctx, r.auth, req, methodRelay)
		},
	})
}

// relayRate is Config.RelayRate as the room takes it: bytes a second.
func (c Config) relayRate() int64 {
	if c.RelayRate == 0 {
		return -1
	}
	return int64(c.RelayRate) * 1_000_000 / 8
}
