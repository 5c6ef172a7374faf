package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// skipped is what no backup holds: what is seen, who runs, what happened, and
// what is of this moment only.
var skipped = []string{
	store.Observed, store.Servers, store.Election, store.Journal,
	store.Restore, stateKey, store.Fence,
	trustPrefix,
}

// trustPrefix is which root each node has said it trusts, while the CA is exchanged:
// it says so again when it comes. Files of before this was left out hold it.
const trustPrefix = store.Identity + "trust/"

// isSkipped tells whether a key is what no backup holds.
func isSkipped(key string) bool {
	return slices.ContainsFunc(skipped, func(p string) bool { return strings.HasPrefix(key, p) })
}

// check says whether a value is what its key promises. What a later release put
// beside is let pass if it is JSON.
func check(e store.Entry) error {
	switch {
	case strings.HasPrefix(e.Key, store.Intent):
		return checkObject(e)
	case strings.HasPrefix(e.Key, store.Identity):
		var record struct {
			Schema int `json:"schema"`
		}
		if err := json.Unmarshal(e.Value, &record); err != nil {
			return fmt.Errorf("the record of an identity cannot be read: %w", err)
		}
		if record.Schema < 1 {
			return errors.New("the record of an identity has no schema")
		}
	}
	return nil
}

func checkObject(e store.Entry) error {
	k, _, name, ok := kind.ParseKey(e.Key)
	if !ok {
		return errors.New("the key names no object: <kind>/<namespace>/<name>")
	}
	var spec any = new(json.RawMessage)
	switch k {
	case kind.ClusterConfig:
		spec = new(kind.ClusterConfigSpec)
	case kind.Node:
		spec = new(kind.NodeSpec)
	case kind.Lease:
		spec = new(kind.LeaseSpec)
	case kind.EgressPolicy:
		spec = new(kind.EgressPolicySpec)
	case kind.Report:
		spec = new(kind.ReportSpec)
	}
	o, err := kind.Decode(e.Value, spec)
	if err != nil {
		return err
	}
	if o.Kind != k || o.Metadata.Name != name {
		return fmt.Errorf("the object is %.60s/%.60s", o.Kind, o.Metadata.Name)
	}
	if lease, ok := spec.(*kind.LeaseSpec); ok {
		return lease.Validate(name)
	}
	return nil
}
