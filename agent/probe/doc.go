// Package probe sends echo requests between the fabric addresses of nodes, to say
// whether a peer is reached over the fabric, and how quickly.
//
// It needs CAP_NET_RAW, opens a socket for the time of one probe, and takes no
// answer that is not one to its own requests: other pings of the host are not
// disturbed and not believed. It decides nothing about paths.
package probe
