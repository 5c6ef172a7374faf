package agent

import (
	"net"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// carriedVTEP is the MAC address of the VXLAN devices that an earlier run made; zero
// if there are none.
func carriedVTEP() intent.MAC {
	var mac intent.MAC
	for _, name := range []string{datapath.VXLANLink4, datapath.VXLANLink6} {
		if l, err := net.InterfaceByName(name); err == nil && len(l.HardwareAddr) == len(mac) {
			return intent.MAC(l.HardwareAddr)
		}
	}
	return mac
}
