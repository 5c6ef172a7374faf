package kernel_test

import (
	"testing"

	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }
