package note

// Keys of log attributes. A message is a short constant in past tense; facts
// are keys from here.
const (
	Node    = "node"
	Was     = "was" // its name before
	Lease   = "lease"
	Pod     = "pod"
	Dev     = "dev"
	Fabric  = "fabric"
	Epoch   = "epoch"
	Rev     = "rev"
	Whole   = "whole" // all of an intent follows, not what changed
	Server  = "server"
	Slot    = "slot" // of a node's WireGuard devices
	Bytes   = "bytes"
	Token   = "token" // its id, never the token
	Machine = "machine"
	Until   = "until"
	Apart   = "apart" // two clocks
	Op      = "op"
	Object  = "object" // Node/n1
	User    = "user"
	Role    = "role"
	Objects = "objects" // how many
	Lost    = "lost"    // how many of
	Of      = "of"      // how many
	Conn    = "conn"
	PID     = "pid"
	Via     = "via" // the proxy
	Addr    = "addr"
	Path    = "path"
	Flag    = "flag"
	Release = "version"
	Room    = "room" // the part of this process
	Took    = "took"
	Retry   = "retry"
	Err     = "err"
	Why     = "why"
	Do      = "do" // what the reader should do
)

// Secret is text that prints, logs and marshals as (secret). Reveal gives it.
type Secret string

const hidden = "(secret)"

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer.
func (Secret) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
