// Command weft-agent keeps one node's share of the fabric: flags, environment and file
// become an agent.Config, and agent.Run does the rest.
//
//	weft-agent           runs the agent
//	weft-agent cleanup   removes from the host all that is weft's
//	weft-agent wireguard makes a WireGuard device where the kernel makes none
//	weft-agent relay     carries packets of pairs that only relays join
//	weft-agent version   prints the release
package main
