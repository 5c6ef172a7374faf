// Package probe is the node's raw sockets for finding out by which ways its peers are
// reached.
//
// Echo sends echo requests between fabric addresses, one after the other, for people
// who ask. Sockets is for package paths, and has two halves:
//
// Outer datagrams leave from and come to the UDP ports of the node's WireGuard devices,
// beside the devices: the kernel hands each raw socket a copy of what comes, whoever
// holds the port, and a filter in the kernel (BPF) lets nothing through but what begins
// as package disco's and echo's do and is as long. So it works for devices of the
// kernel and of wireguard-go alike, and packets of WireGuard cost nothing here. They are
// sent with a hop limit of their own: generic receive offload merges datagrams of one
// flow that differ in nothing but length, and then the filter would see the first only.
//
// Inner probes are echo requests bound to a device, so that the kernel's routes for
// that device take them, never to be fragmented, and of a size that is asked for. The
// peer's kernel answers by whatever way it likes.
//
// It needs CAP_NET_RAW. No answer is taken that is not one to own requests. It decides
// nothing about paths. Sockets.Run owns one goroutine a socket and waits for all.
package probe
