package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/weft-net/weft/integration/lab"
)

// transfer is what iperf3 tells of TCP between two hosts.
type transfer struct {
	Intervals []struct {
		Sum struct {
			Start   float64
			Seconds float64
			Bytes   int64
		}
	}
	End struct {
		Received struct {
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
	}
	Error string
}

// iperf sends TCP from one host to an address of another, for so many seconds
// after half a one that does not count; args are iperf3's own.
func iperf(ctx context.Context, from, to *lab.Host, addr string, seconds int, args ...string) (out transfer, err error) {
	server, err := to.Start("iperf3", "iperf3", "-s", "-1", "-B", addr)
	if err != nil {
		return out, err
	}
	defer server.Kill()
	if err := lab.Until(ctx, "iperf3 listens on "+addr, func() (string, error) {
		return to.Run(ctx, "sh", "-c", "ss -Hltn 'sport = :5201' | grep -F '"+addr+"'")
	}); err != nil {
		return out, err
	}
	args = append([]string{"iperf3", "-J", "-c", addr, "-O", "0.5", "-t", strconv.Itoa(seconds)}, args...)
	text, err := from.Command(ctx, args...).Output()
	if jerr := json.Unmarshal(text, &out); jerr != nil {
		return out, fmt.Errorf("iperf3: %w, %w: %s", err, jerr, text)
	}
	if err != nil || out.Error != "" {
		return out, fmt.Errorf("iperf3: %w: %s", err, out.Error)
	}
	return out, nil
}
