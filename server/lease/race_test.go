//go:build race

package lease

// walkOps is less under the race detector, which is five times slower.
const walkOps = 20_000
