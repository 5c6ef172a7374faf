package tunnels

import "time"

// State is how it stands with the tunnel to a server.
type State string

// The states.
const (
	Opening State = "opening" // for the first time
	Up      State = "up"
	Down    State = "down"    // see Err
	None    State = "none"    // the server is of a release that knows no tunnels
	Same    State = "same"    // another address of a server that has a tunnel: see Of
	Refused State = "refused" // by the server or a proxy, and only a person changes that: see Err
)

// Tunnel is one server's, as it is shown.
type Tunnel struct {
	Server   string // HOST:PORT
	State    State
	Since    time.Time     // of the state
	Of       string        // with Same: the address that has it
	Proxy    string        // through which; empty: directly
	RTT      time.Duration // 0: not measured yet
	Streams  int           // open
	Draining int           // open on tunnels before this one
	Err      error         // why there is none, or why the last one ended
	Next     time.Time     // when it is tried again; zero: not planned
}
