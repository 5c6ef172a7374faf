package kind

// PathsObservation is on which rungs a node's pairs stand, JSON at ObservedPath. It is
// there only of a node whose pairs choose their way.
type PathsObservation struct {
	Epoch    string            `json:"epoch"`
	Revision int64             `json:"revision"`           // of the intent that the node went by
	Rungs    map[string]uint32 `json:"rungs,omitempty"`    // all pairs of the node, by the rung that it sends by
	Usual    string            `json:"usual,omitempty"`    // the rung of all that Others does not name, or down
	Others   []RungPeers       `json:"others,omitempty"`   // by the rungs beside it
	Old      uint32            `json:"old,omitempty"`      // pairs that still send by a carrier that the fabric leaves
	OldPeers []string          `json:"oldPeers,omitempty"` // some of them
	Down     []string          `json:"down,omitempty"`     // peers from which nothing is heard by any way, or some of them
}

// RungPeers are the peers that a node sends to on one rung.
type RungPeers struct {
	Rung  string   `json:"rung"`
	Peers []string `json:"peers"`
}
