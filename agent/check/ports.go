package check

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// ports are those that the agent and its devices listen on.
func (n Node) ports() []Check {
	var out []Check
	if n.Node.Cluster.Backend == intent.VXLAN || n.Node.Mesh.Clear {
		out = append(out, n.vxlan(n.Node.Cluster.VXLANPort))
	}
	for _, s := range n.Node.Mesh.Slots {
		out = append(out, n.wireguard(s))
	}
	if n.Metrics == "" || n.Running {
		return out
	}
	l, err := net.Listen("tcp", n.Metrics)
	if err != nil {
		_, port, _ := net.SplitHostPort(n.Metrics)
		return append(out, fail("port "+n.Metrics+"/tcp", "ss -ltnp 'sport = :"+port+"', or choose another with --metrics-listen", "%v", why(err)))
	}
	l.Close()
	return append(out, ok("port "+n.Metrics+"/tcp", "free, for metrics"))
}

// vxlan tells whether the fabric's port can be had. VXLAN devices share a port
// among each other, unless one of them was made for all VNIs (external).
func (n Node) vxlan(port uint16) Check {
	subject := "port " + strconv.Itoa(int(port)) + "/udp"
	c, err := net.ListenPacket("udp", ":"+strconv.Itoa(int(port)))
	if err == nil {
		c.Close()
		return ok(subject, "free, for VXLAN")
	}
	var others []string
	for _, l := range n.Facts.Links {
		if datapath.IsOurs(l.Name, datapath.LinkVXLAN) {
			return ok(subject, "in use by weft's own %s", l.Name)
		}
		if l.Type == "vxlan" {
			others = append(others, l.Name)
		}
	}
	if len(others) > 0 {
		return warn(subject, "ip -d link show "+others[0]+"; one that is external cannot share it: move that network away first, or give this one another vxlanPort",
			"in use by VXLAN device %s of somebody else", strings.Join(others, ", "))
	}
	return fail(subject, "ss -lunp 'sport = :"+strconv.Itoa(int(port))+"'", "%v", why(err))
}

// wireguard tells whether the port of a WireGuard device can be had. Who has not joined
// does not know whether the cluster needs it.
func (n Node) wireguard(s intent.Slot) Check {
	subject := "port " + strconv.Itoa(int(s.Port)) + "/udp"
	c, err := net.ListenPacket("udp", ":"+strconv.Itoa(int(s.Port)))
	if err == nil {
		c.Close()
		return ok(subject, "free, for WireGuard")
	}
	ours := datapath.WGLink(s.Slot)
	if slices.ContainsFunc(n.Facts.Links, func(l datapath.HostLink) bool { return l.Name == ours }) {
		return ok(subject, "in use by weft's own %s", ours)
	}
	out := warn(subject, fmt.Sprintf("wg show all listen-port; ss -lunp 'sport = :%d'; free it, or give the cluster another wireguardPort", s.Port),
		"%v; a cluster with backend wireguard or auto needs it", why(err))
	if n.Node.Cluster.Meshed() {
		out.Result = Fail
	}
	return out
}

func why(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return errors.New("in use by another process")
	}
	return err
}
