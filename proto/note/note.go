package note

// Keys of log attributes. A message is a short constant in past tense; facts
// are keys from here.
const (
	Node  = "node"
	Peer  = "peer"
	Lease = "lease"
	Pod   = "pod"
	Dev   = "dev"
	Op    = "op"
	Rev   = "rev"
	Err   = "err"
	Retry = "retry"
	Conn  = "conn"
	Addr  = "addr"
	Path  = "path"
	Took  = "took"
	Do    = "do" // what the reader should do
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
