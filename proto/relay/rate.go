package relay

import "time"

// Bucket is a bucket of tokens, one a byte: it lets through what was not used of late.
// It is not safe for concurrent use.
type Bucket struct {
	rate  int64 // bytes a second
	burst int64 // bytes
	left  int64
	at    time.Duration // up to when it was filled
}

// BurstTime is how much of its rate a Bucket saves up.
const BurstTime = 100 * time.Millisecond

// NewBucket returns a full one. now is of any clock that only goes on. A rate of 0 or
// less lets everything through.
func NewBucket(bytesPerSecond int64, now time.Duration) Bucket {
	burst := max(bytesPerSecond/int64(time.Second/BurstTime), 2*MaxFrame) // or no frame would ever pass
	return Bucket{rate: bytesPerSecond, burst: burst, left: burst, at: now}
}

// Take lets n bytes through, or says no and takes nothing.
func (b *Bucket) Take(n int, now time.Duration) bool {
	if b.rate <= 0 {
		return true
	}
	passed := now - b.at
	switch full := time.Duration(b.burst-b.left) * time.Second / time.Duration(b.rate); {
	case passed >= full:
		b.left, b.at = b.burst, now
	case passed > 0:
		more := int64(passed) * b.rate / int64(time.Second)
		b.left += more
		b.at += time.Duration(more) * time.Second / time.Duration(b.rate) // what is less than a byte counts later
	}
	if int64(n) > b.left {
		return false
	}
	b.left -= int64(n)
	return true
}
