// Package vm runs commands on a kernel that has what the test machine's own lacks,
// such as WireGuard: the distribution's, in QEMU without hardware acceleration.
//
// fetch.sh unpacks both into a cache folder; nothing is installed. The guest sees the
// files of the host read-only, with a memory of its own above them, so that what was
// just built is there under its path; it has no network device, and what it does
// stays in it. It is far too slow to measure anything in.
//
// Its tests run others there: those of agent/kernel and agent/userspace, scenarios of
// package integration that the host runs with wireguard-go, and those of testdata, of
// nodes that have WireGuard of both kinds. Further scenarios are run by hand, being too
// long for every run: make vm SCENARIOS="mesh-rotate mesh-preshared".
package vm
