package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// refused checks for an error that has a text.
func refused(t *testing.T, what string, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q in it", what, err, want)
	}
}

func TestOneAgentInANetwork(t *testing.T) {
	kerneltest.Netns(t)
	log, dir := slog.New(slog.DiscardHandler), t.TempDir()
	first, err := alone(log)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("this host's network is in use by another weft-agent (pid %d); stop it first", os.Getpid())
	refused(t, "second agent", Run(t.Context(), Config{
		Servers: []string{"https://10.0.0.1"}, NodeName: "n2", DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), Log: log,
	}), want)
	refused(t, "cleanup", Cleanup(t.Context(), Cleaning{DataDir: filepath.Join(dir, "data"), Log: log}, &bytes.Buffer{}), want)
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("made: %v", left)
	}
	first.Close()
	again, err := alone(log)
	if err != nil {
		t.Fatalf("after the first is gone: %v", err)
	}
	again.Close()
}

func TestCleanupRefused(t *testing.T) {
	kerneltest.Netns(t)
	none := filepath.Join(t.TempDir(), "none")
	var out bytes.Buffer
	refused(t, "no folder", Cleanup(t.Context(), Cleaning{DataDir: none, Log: slog.New(slog.DiscardHandler)}, &out), none+" is no data folder of an agent")
	if _, err := os.Stat(none); err == nil || out.Len() > 0 {
		t.Errorf("the folder was made (%v), or something said: %s", err, out.String())
	}
}

// TestCleanupWithoutRecord: a record of settings that cannot be read, or could not
// be when the agent started, is not passed over.
func TestCleanupWithoutRecord(t *testing.T) {
	kerneltest.Netns(t)
	for _, name := range []string{sysctlName, sysctlName + ".unreadable"} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, podsName), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := Cleaning{DataDir: dir, RunDir: t.TempDir(), CNIConfDir: None, Log: slog.New(slog.DiscardHandler)}
		kerneltest.Run(t, "sysctl -w net.ipv4.ip_forward=1")
		var out bytes.Buffer
		refused(t, name, Cleanup(t.Context(), c, &out), "not put back, if weft changed it: net/ipv4/ip_forward=1")
		kerneltest.Run(t, "sysctl -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
		if err := Cleanup(t.Context(), c, &out); err != nil {
			t.Errorf("with nothing left to put back: %v", err)
		}
	}
}
