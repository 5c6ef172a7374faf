package main

import (
	"testing"

	"github.com/weft-net/weft/proto/cniwire"
)

// BenchmarkAddDel is an ADD with its DEL in the agent's rooms, without the shim.
func BenchmarkAddDel(b *testing.B) {
	n := newNode(b)
	netns := n.netns("a")
	config := []byte(`{"cniVersion":"1.1.0","name":"weft","runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}}`)
	for b.Loop() {
		for _, verb := range []cniwire.Verb{cniwire.Add, cniwire.Del} {
			req := cniwire.Request{Version: 1, Verb: verb, ContainerID: "a", NetNS: netns, IfName: "eth0", Config: config}
			if resp := n.pods.Serve(ctx, req); resp.Error != nil {
				b.Fatal(resp.Error)
			}
		}
	}
}
