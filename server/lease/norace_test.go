//go:build !race

package lease

const walkOps = 100_000
