package look

import (
	"testing"
	"time"
)

func BenchmarkFacts(b *testing.B) {
	dir := b.TempDir()
	e := Eyes{Kernel: &still{}, Disks: []string{dir, dir}, CNIDir: func() string { return dir }}
	paths := []string{"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/lo/rp_filter"}
	for b.Loop() {
		if _, err := e.Facts(b.Context(), paths, 0, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
