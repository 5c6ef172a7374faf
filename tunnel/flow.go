package tunnel

import "time"

// What is on its way in all streams together need not be more than some round trips'
// worth. More would only wait, here or beneath, and each message of another stream
// behind it: a process that finds megabytes to do is not interrupted for a message.
const (
	flowTurn   = 25 * time.Millisecond // at least, and two round trips
	flowTrips  = 4                     // round trips' worth that may be on its way: a rate can double in each turn
	leastFlow  = 1 << 20               // bytes that always may
	leastShare = 64 << 10              // of each stream
	fewStreams = 4                     // so few do not keep others waiting long
)

// flow is what a session's readers take, measured in turns. Guarded by Conn.mu.
type flow struct {
	turn    uint32
	began   time.Duration
	bytes   int64   // taken in this turn
	streams int     // that took them
	rate    float64 // bytes/s, in the last turn
	before  float64 // in the one before
	active  int     // streams, in the last turn
}

// note counts n bytes that were read of a stream, over a path with this round trip.
func (f *flow) note(s *Stream, n int, now, rtt time.Duration) {
	if took := now - f.began; took >= max(flowTurn, 2*rtt) {
		f.rate, f.before, f.active = float64(f.bytes)/took.Seconds(), f.rate, f.streams
		f.turn, f.began, f.bytes, f.streams = f.turn+1, now, 0, 0
	}
	f.bytes += int64(n)
	if s.turn != f.turn {
		s.turn = f.turn
		f.streams++
	}
}

// share returns how many bytes of each stream may be on their way over a path with
// this round trip.
func (f *flow) share(rtt time.Duration) int64 {
	active := max(f.active, f.streams)
	if rtt == 0 || active <= fewStreams {
		return mostWindow
	}
	way := max(rtt-leastRTT, 0) // less the time in which processes take turns, for which leastFlow is enough
	whole := max(int64(flowTrips*max(f.rate, f.before)*way.Seconds()), leastFlow)
	return max(whole/int64(active), leastShare)
}
