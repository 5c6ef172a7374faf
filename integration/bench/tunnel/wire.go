package main

import "time"

// spec is what a process is told of its stack when it starts.
type spec struct {
	Contender string        `json:"contender,omitempty"`
	Dir       string        `json:"dir,omitempty"`    // certificates
	Front     string        `json:"front,omitempty"`  // unix socket of HTTP CONNECT
	Listen    string        `json:"listen,omitempty"` // where the tunnel is accepted: by the server; for tls, by the agent
	Dial      string        `json:"dial,omitempty"`   // where it is dialled: Listen, or a relay before it
	Target    string        `json:"target,omitempty"` // where the target listens
	Ports     []int         `json:"ports,omitempty"`  // free ones, for what a contender serves beside
	Tunnels   int           `json:"tunnels,omitempty"`
	Delay     time.Duration `json:"delay,omitempty"` // of the relay, one way
}

// order is what the driver asks of a process; do picks the fields that count.
type order struct {
	Do      string        `json:"do"`
	Collect bool          `json:"collect,omitempty"` // look: after two collections
	Path    string        `json:"path,omitempty"`    // profile: file to write
	Mode    byte          `json:"mode,omitempty"`    // streams: of target.go
	N       int           `json:"n,omitempty"`       // streams, or dials
	For     time.Duration `json:"for,omitempty"`
	Every   time.Duration `json:"every,omitempty"` // echo: between two messages
	Target  string        `json:"target,omitempty"`
	Past    bool          `json:"past,omitempty"` // echo: straight to the target, past front and tunnel
	Each    time.Duration `json:"each,omitempty"` // deadline of each dial or echo
}

// answer is what comes back.
type answer struct {
	Err   string  `json:"err,omitempty"`
	Look  look    `json:"look"`
	Times []times `json:"times,omitempty"`
	Bad   int     `json:"bad,omitempty"` // how many did not succeed
	Why   string  `json:"why,omitempty"` // the first that did not
}

// times of one dial or echo, seconds.
type times struct {
	Open float64 `json:"open,omitempty"` // until the front said 200
	Echo float64 `json:"echo,omitempty"` // until the first echo was back
}

// look is what a process uses, and holds.
type look struct {
	At         int64   `json:"at"`  // of the machine's clock, ns
	CPU        float64 `json:"cpu"` // seconds, user and system
	RSS        int64   `json:"rss"`
	Heap       int64   `json:"heap"`   // bytes of objects, live or not yet swept
	Stacks     int64   `json:"stacks"` // bytes of spans of goroutines' stacks
	Goroutines int     `json:"goroutines"`
	Bytes      int64   `json:"bytes"`    // client and target: payload received
	Sessions   int     `json:"sessions"` // server: tunnels that stand
	Open       int     `json:"open"`     // client, target: streams
	Ended      int64   `json:"ended"`    // client: when the last of the held streams ended, if all did
}
