package kernel_test

import (
	"bufio"
	"context"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// TestShape measures what gets through. The limits are far below what a busy
// machine can do, and far above zero.
func TestShape(t *testing.T) {
	k, ctx := open(t), context.Background()
	a := attachment(podNetns(t, "shape"))
	if _, err := k.Attach(ctx, a); err != nil {
		t.Fatal(err)
	}
	converge(t, k, merge(t, hostEnd(a)))
	const rate = 40_000_000 // bits per second
	limit := kernel.Bandwidth{IngressRate: rate, EgressRate: rate}
	for range 2 {
		if err := k.Shape(ctx, a.HostDev, limit); err != nil {
			t.Fatal(err)
		}
	}
	t.Log(kerneltest.Run(t, "tc qdisc show dev "+a.HostDev))
	for _, reverse := range []bool{false, true} {
		got := throughput(t, reverse)
		t.Logf("reverse %v: %.1f Mbit/s of %d", reverse, got/1e6, rate/1_000_000)
		if got > 1.3*rate {
			t.Errorf("reverse %v: %.0f bit/s pass a limit of %d", reverse, got, rate)
		}
		if got < rate/10 {
			t.Errorf("reverse %v: only %.0f bit/s pass a limit of %d", reverse, got, rate)
		}
	}
	for range 2 {
		if err := k.Shape(ctx, a.HostDev, kernel.Bandwidth{}); err != nil {
			t.Fatal(err)
		}
	}
	if out := kerneltest.Run(t, "tc qdisc show dev "+a.HostDev); strings.Contains(out, "tbf") || strings.Contains(out, "ingress") {
		t.Errorf("limits stay:\n%s", out)
	}
	if out := kerneltest.Run(t, "ip -o link show type ifb"); out != "" {
		t.Errorf("a device stays:\n%s", out)
	}
	if got := throughput(t, false); got < 2*rate {
		t.Errorf("%.0f bit/s without a limit", got)
	}
}

// throughput sends to the pod, or from it, for a second.
func throughput(t *testing.T, reverse bool) float64 {
	t.Helper()
	args := []string{"netns", "exec", "weft-t-shape", "iperf3", "-s", "-1", "-i", "0", "--forceflush"}
	cmd := exec.Command("ip", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "listening") {
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	line := "iperf3 -c 10.42.1.5 -t 1 -f k -i 0"
	if reverse {
		line += " -R"
	}
	text := kerneltest.Run(t, line)
	for _, l := range strings.Split(text, "\n") {
		words := strings.Fields(l)
		for i, w := range words {
			if w == "Kbits/sec" && strings.HasSuffix(l, "receiver") {
				v, err := strconv.ParseFloat(words[i-1], 64)
				if err != nil {
					t.Fatal(err)
				}
				return v * 1e3
			}
		}
	}
	t.Fatalf("iperf3 said:\n%s", text)
	return 0
}
