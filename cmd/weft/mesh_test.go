package main

import (
	"testing"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// TestCellText: what a node says of its sending stands as it said it; what it was not
// asked is marked.
func TestCellText(t *testing.T) {
	for want, d := range map[string]*weftv1.PairPath{
		"vxlan 1450":          {Transport: "vxlan", Mtu: 1450},
		"relayed (s1) 1380":   {Transport: "relayed", Via: "s1", Mtu: 1380},
		"relayed (n3)":        {Transport: "relayed (node)", Via: "n3"},
		"wireguard 1420 DOWN": {Transport: "wireguard", Mtu: 1420, Down: true},
		"none":                {Transport: "none", Mtu: 1420, Down: true},
		"direct?":             {Transport: "direct", Unasked: true},
		"down?":               {Transport: "down", Down: true, Unasked: true},
		"not told yet":        {Transport: "not told yet", Unasked: true},
	} {
		if got := cellText(d); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
