package relay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/weft-net/weft/proto/note"
)

// portsFile holds which port is whose.
const portsFile = "relay-ports.json"

// portsSchema is the version of what is in it.
const portsSchema = 1

type remembered struct {
	Schema int              `json:"schema"`
	Ports  []rememberedPort `json:"ports"`
}

type rememberedPort struct {
	Peer string `json:"peer"`
	Slot uint8  `json:"slot"`
	Port uint16 `json:"port"`
}

// recall reads which ports there were. What it cannot read is set aside: then devices
// are told of other ports, which costs them a moment and nothing else.
func (r *Relay) recall() error {
	b, err := r.cfg.Folder.Read(portsFile)
	if err != nil {
		return err
	}
	var f remembered
	if err = json.Unmarshal(b, &f); err == nil && f.Schema != portsSchema {
		err = fmt.Errorf("schema %d: this release reads %d", f.Schema, portsSchema)
	}
	if err != nil {
		to, aside := r.cfg.Folder.SetAside(portsFile)
		if aside != nil {
			return fmt.Errorf("relay: %s cannot be read (%w): %w", portsFile, err, aside)
		}
		r.cfg.Log.Warn("relay ports not read", note.Path, to, note.Err, err)
		return nil
	}
	for _, p := range f.Ports {
		if p.Peer != "" && p.Slot <= 1 && p.Port > 0 {
			r.memory[key{p.Peer, p.Slot}] = p.Port
		}
	}
	return nil
}

// remember writes down which ports there are, if that has changed.
func (r *Relay) remember() {
	r.mu.Lock()
	dirty := r.dirty
	r.dirty = false
	f := remembered{Schema: portsSchema}
	for k, port := range r.memory {
		f.Ports = append(f.Ports, rememberedPort{k.peer, k.slot, port})
	}
	r.mu.Unlock()
	if !dirty {
		return
	}
	slices.SortFunc(f.Ports, func(a, b rememberedPort) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Slot, b.Slot))
	})
	b, err := json.MarshalIndent(f, "", "\t")
	if err == nil {
		err = r.cfg.Folder.Write(portsFile, append(b, '\n'))
	}
	if err != nil {
		r.cfg.Log.Warn("relay ports not written", note.Err, err, note.Do, "make room in the data folder: after a restart, relayed pairs need a moment more")
		r.mu.Lock()
		r.dirty = true
		r.mu.Unlock()
	}
}
