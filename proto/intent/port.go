package intent

// PortShifts is how many other pairs of ports a node has beside the cluster's two, where
// another node behind the same router has those: the ports that follow them.
const PortShifts = 64

// WireGuardPort is the UDP port of a slot: base is slot 0's of the cluster, and shift says
// how many pairs of ports further the node is, 0 to PortShifts. Where there is no room
// above they are counted downwards.
func WireGuardPort(base uint16, shift, slot uint8) uint16 {
	by := Slots * int(shift)
	if int(base)+Slots*PortShifts+Slots > 1<<16 {
		by = -by
	}
	return uint16(int(base) + by + int(slot))
}
