package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Stream sends TCP from one host to an address of another for some seconds, with
// iperf3, and returns bytes received and their rate in bit/s. Around is called
// with the client as its only argument; it may measure what the client costs.
func Stream(ctx context.Context, from, to *Host, addr netip.Addr, seconds int, around func(client func() error) error) (bytes, rate float64, err error) {
	server, err := to.Start("iperf3-"+addr.String(), "iperf3", "-s", "-1", "--forceflush", "-B", addr.String())
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		server.Kill()
		_ = os.Remove(server.Log)
	}()
	err = Until(ctx, "iperf3 listens", func() (string, error) {
		if log := server.Tail(5); !strings.Contains(log, "listening") {
			return log, fmt.Errorf("not yet")
		}
		return "", nil
	})
	if err != nil {
		return 0, 0, err
	}
	var out string
	err = around(func() error {
		var err error
		out, err = from.Run(ctx, "iperf3", "-J", "-t", strconv.Itoa(seconds), "-c", addr.String())
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	var report struct {
		End struct {
			Received struct {
				Bytes float64 `json:"bytes"`
				Rate  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return 0, 0, fmt.Errorf("lab: iperf3's report: %w", err)
	}
	if report.End.Received.Bytes == 0 {
		return 0, 0, fmt.Errorf("lab: iperf3 to %v: nothing was received:\n%s", addr, out)
	}
	return report.End.Received.Bytes, report.End.Received.Rate, nil
}
