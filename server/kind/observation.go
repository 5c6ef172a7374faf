package kind

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-net/weft/server/store"
)

// NodeObservation is what the server that holds a node's stream last saw of it,
// JSON at ObservedNode. It is written in batches and wakes nobody's compile.
type NodeObservation struct {
	Version         string        `json:"version,omitempty"` // the agent's release
	Boot            string        `json:"boot,omitempty"`    // the kernel's boot_id
	Machine         string        `json:"machine,omitempty"` // /etc/machine-id
	Address         string        `json:"address,omitempty"` // of the agent, as the server saw it
	HeardUnix       int64         `json:"heardUnix"`         // seconds since 1970
	AppliedRevision int64         `json:"appliedRevision,omitempty"`
	Epoch           string        `json:"epoch,omitempty"`    // that AppliedRevision belongs to
	Revision        int64         `json:"revision,omitempty"` // last sent to the node
	Gone            bool          `json:"gone,omitempty"`     // the stream has ended
	Run             string        `json:"run,omitempty"`      // of the server that holds the stream: see ServerObservation
	Instance        string        `json:"instance,omitempty"` // of the agent's process
	Stream          uint64        `json:"stream,omitempty"`   // of those that the instance opened: the highest is the newest
	Settings        []string      `json:"settings,omitempty"` // of the host, that the agent has changed, with old values
	Looking         bool          `json:"looking,omitempty"`  // its agent has not looked at its host yet
	Problems        []Problem     `json:"problems,omitempty"`
	ObjectErrors    []ObjectError `json:"objectErrors,omitempty"`
}

// ServerObservation is what a server says of all streams that it holds, JSON at
// ObservedServer: that they live, and what their nodes have applied. So neither an
// idle node nor one that is in step costs a write of its own.
type ServerObservation struct {
	Run             string           `json:"run"`       // of its process: it speaks for streams of this run only
	HeardUnix       int64            `json:"heardUnix"` // when it said so, seconds since 1970
	Epoch           string           `json:"epoch"`
	Revision        int64            `json:"revision"`        // last sent to its nodes
	AppliedRevision int64            `json:"appliedRevision"` // by its nodes, but for those behind
	Behind          map[string]int64 `json:"behind,omitempty"`
	Gone            bool             `json:"gone,omitempty"` // it has stopped, and its streams with it
}

// Of brings what a server says of all its streams into what is stored of one node.
func (o ServerObservation) Of(node string, n NodeObservation) NodeObservation {
	if o.Run == "" || o.Run != n.Run || o.Epoch != n.Epoch || n.Gone {
		return n
	}
	applied, behind := o.Behind[node]
	if !behind {
		applied = o.AppliedRevision
	}
	n.AppliedRevision, n.Revision = max(n.AppliedRevision, applied), max(n.Revision, o.Revision)
	n.HeardUnix, n.Gone = max(n.HeardUnix, o.HeardUnix), o.Gone
	return n
}

// Problem is something that a person should know, with what to do about it.
type Problem struct {
	Subject   string `json:"subject"` // a device, a collection's key, a file
	Cause     string `json:"cause"`
	Remedy    string `json:"remedy,omitempty"`
	SinceUnix int64  `json:"sinceUnix,omitempty"` // seconds since 1970
	Noted     bool   `json:"noted,omitempty"`     // by the server, not by the node
}

// ObjectError is one object that a node did not understand or could not apply.
type ObjectError struct {
	Collection string `json:"collection"`
	Key        string `json:"key"`
	Revision   int64  `json:"revision,omitempty"`
	Error      string `json:"error"`
	Remedy     string `json:"remedy,omitempty"`
}

// EndpointObservation is one attachment of a pod, JSON at ObservedEndpoint.
type EndpointObservation struct {
	Key         string            `json:"key"` // <node>/<container id>/<ifname>
	Namespace   string            `json:"namespace,omitempty"`
	Pod         string            `json:"pod,omitempty"`
	Addresses   []netip.Addr      `json:"addresses"`
	Labels      map[string]string `json:"labels,omitempty"`
	Device      string            `json:"device,omitempty"` // the host's end
	MAC         string            `json:"mac,omitempty"`
	CreatedUnix int64             `json:"createdUnix,omitempty"` // seconds since 1970
}

// Where observations are stored.
const (
	ObservedNodes     = store.Observed + "node/"
	ObservedServers   = store.Observed + "server/"
	ObservedEndpoints = store.Observed + "endpoint/"
	ObservedPools     = store.Observed + "pool/"
	ObservedPaths     = store.Observed + "paths/"
)

// ObservedNode is the key of a node's observation.
func ObservedNode(node string) string { return ObservedNodes + node }

// ObservedPool is the key of a node's PoolsObservation.
func ObservedPool(node string) string { return ObservedPools + node }

// ObservedPath is the key of a node's PathsObservation.
func ObservedPath(node string) string { return ObservedPaths + node }

// ObservedServer is the key of what a run of a server says of its streams.
func ObservedServer(server, run string) string { return ObservedServers + server + "/" + run }

// ObservedEndpoint is the key of an endpoint's observation. key is
// <node>/<container id>/<ifname>.
func ObservedEndpoint(key string) string { return ObservedEndpoints + key }

// EndpointNode is the node in an endpoint's key.
func EndpointNode(key string) string {
	node, _, _ := strings.Cut(key, "/")
	return node
}

// DecodeObservation reads an observation of some kind.
func DecodeObservation[T NodeObservation | EndpointObservation | PoolsObservation | ServerObservation | PathsObservation](e store.Entry) (T, error) {
	var o T
	if err := json.Unmarshal(e.Value, &o); err != nil {
		return o, fmt.Errorf("kind: stored observation %s: %w", e.Key, err)
	}
	return o, nil
}
