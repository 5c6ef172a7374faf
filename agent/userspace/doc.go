// Package userspace makes WireGuard devices by wireguard-go, for kernels that have no
// WireGuard.
//
// Open makes one device in this process: a TUN device, the protocol, and the socket
// /var/run/wireguard/DEV.sock, by which it is configured with the very calls that
// configure the kernel's own. `weft-agent wireguard DEV` is a process that does that
// and nothing else; who starts, ends and follows such processes is agent/detached, as
// units of systemd where it runs (weft-wireguard@DEV.service).
//
// Invariants: the process is never in the agent's control group, so that the end of
// the agent is not the end of the tunnel. It is told no secret but by its socket, and
// keeps nothing on the disk. A device has one process, which holds DEV.lock beside the
// socket; what another process holds is never taken from it. The UDP port is bound as
// long as the device is there, whether its link is up or down, so that a port that is
// taken is the answer to whoever sets it.
//
// A session that is asked for does not wait for 5 s because one packet was lost: what asks
// is sent again, and of two ends that ask each other at once one is heard (openings); and
// a peer that gets its first endpoint is asked at once (told).
//
// The room decides nothing about keys or peers. It owns the goroutines of a Device, and
// the timer of its openings, until Close.
package userspace
