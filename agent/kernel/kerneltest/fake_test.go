package kerneltest_test

import (
	"testing"

	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

func TestConform(t *testing.T) {
	kerneltest.Conform(t, func(testing.TB) kerneltest.Kernel { return kerneltest.New("eth0") })
}
