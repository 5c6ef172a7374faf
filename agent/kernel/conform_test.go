package kernel_test

import (
	"testing"

	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

func TestConform(t *testing.T) {
	kerneltest.Conform(t, func(t testing.TB) kerneltest.Kernel {
		k := openWG(t).Kernel
		kerneltest.Run(t, "ip link add eth0 type veth peer name wire")
		kerneltest.Run(t, "ip link set wire up")
		kerneltest.Run(t, "ip link set eth0 up")
		return k
	})
}
