package cniwire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// Version is the version of the documents that this release writes.
	Version = 1
	// DefaultSocket is where an agent listens unless it was told otherwise.
	DefaultSocket = "/run/weft/cni.sock"
	// MaxDocument is the size in bytes of the largest document read.
	MaxDocument = 1 << 20
)

// Verb is a command of the CNI specification, section 2.
type Verb string

// The verbs that travel to the agent. VERSION is answered by the shim alone.
const (
	Add    Verb = "ADD"
	Del    Verb = "DEL"
	Check  Verb = "CHECK"
	Status Verb = "STATUS"
	GC     Verb = "GC"
)

// Timeout is how long the shim waits for an answer to a verb, from its start. The
// agent gives up Margin earlier, so that its own words reach the runtime.
func (v Verb) Timeout() time.Duration {
	switch v {
	case Status:
		return time.Second
	case GC:
		return 30 * time.Second
	}
	return 10 * time.Second
}

// Margin is how much earlier than the shim the agent gives up.
const Margin = 250 * time.Millisecond

// Request is what the runtime gave to the shim.
type Request struct {
	Version     int             `json:"version"`
	Verb        Verb            `json:"verb"`
	ContainerID string          `json:"containerID,omitempty"` // CNI_CONTAINERID
	NetNS       string          `json:"netns,omitempty"`       // CNI_NETNS, a path
	IfName      string          `json:"ifname,omitempty"`      // CNI_IFNAME
	Args        string          `json:"args,omitempty"`        // CNI_ARGS
	Path        string          `json:"path,omitempty"`        // CNI_PATH
	Config      json.RawMessage `json:"config,omitempty"`      // standard input: the plugin's configuration
}

// Response is the agent's answer. Result is set for ADD only, in the version of
// the result that the configuration asks for.
type Response struct {
	Version int             `json:"version"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *Error          `json:"error,omitempty"`
}

// WriteRequest writes a request as one document.
func WriteRequest(w io.Writer, r Request) error {
	r.Version = Version
	return write(w, r)
}

// WriteResponse writes a response as one document.
func WriteResponse(w io.Writer, r Response) error {
	r.Version = Version
	return write(w, r)
}

// ReadRequest reads one request up to the end of r. Its errors are *Error, fit to
// be sent back.
func ReadRequest(r io.Reader) (Request, error) {
	var req Request
	if err := read(r, &req); err != nil {
		return Request{}, err
	}
	switch {
	case req.Version < 1:
		return Request{}, Errorf(CodeDecoding, "cniwire: the request has no version")
	case req.Version > Version:
		return Request{}, Errorf(CodeIncompatibleVersion,
			"cniwire: the shim speaks version %d, this agent up to %d; upgrade weft-agent", req.Version, Version)
	}
	switch req.Verb {
	case Add, Del, Check, Status, GC:
		return req, nil
	}
	return Request{}, Errorf(CodeEnvironment, "cniwire: unknown verb %q", req.Verb)
}

// ReadResponse reads one response up to the end of r.
func ReadResponse(r io.Reader) (Response, error) {
	var resp Response
	if err := read(r, &resp); err != nil {
		return Response{}, err
	}
	if resp.Error != nil && resp.Result != nil {
		return Response{}, Errorf(CodeDecoding, "cniwire: the response holds a result and an error")
	}
	return resp, nil
}

func write(w io.Writer, document any) error {
	b, err := json.Marshal(document)
	if err != nil {
		return Errorf(CodeDecoding, "cniwire: encode: %v", err)
	}
	if len(b) > MaxDocument {
		return Errorf(CodeDecoding, "cniwire: a document of %d bytes; at most %d are sent", len(b), MaxDocument)
	}
	if _, err = w.Write(b); err != nil {
		return fmt.Errorf("cniwire: write: %w", err)
	}
	return nil
}

func read(r io.Reader, document any) error {
	b, err := io.ReadAll(io.LimitReader(r, MaxDocument+1))
	switch {
	case err != nil:
		return Errorf(CodeIO, "cniwire: read: %v", err)
	case len(b) > MaxDocument:
		return Errorf(CodeDecoding, "cniwire: the document is larger than %d bytes", MaxDocument)
	case len(b) == 0:
		return Errorf(CodeIO, "cniwire: the other end closed without a word")
	}
	if err = json.Unmarshal(b, document); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) && syntax.Offset >= int64(len(b)) {
			return Errorf(CodeDecoding, "cniwire: the document ends after %d bytes, in the middle", len(b))
		}
		return Errorf(CodeDecoding, "cniwire: decode: %v", err)
	}
	return nil
}
