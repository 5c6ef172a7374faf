package mesh

import (
	"container/heap"
	"time"
)

// timer is a place in the queue of what is due.
type timer struct {
	due   time.Time
	index int // in the queue, from 1; 0: not there
}

// queue holds pairs by when they are due, so that a Step costs as much as what is due.
type queue []*pair

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

// Swap implements heap.Interface.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i+1, j+1
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	p := x.(*pair) //nolint:forcetypeassert // only put gives any
	*q = append(*q, p)
	p.index = len(*q)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	p.index = 0
	return p
}

// put notes when a pair is due. A zero time takes it out.
func (q *queue) put(p *pair, due time.Time) {
	switch {
	case due.IsZero():
		q.drop(p)
	case p.index == 0:
		p.due = due
		heap.Push(q, p)
	default:
		p.due = due
		heap.Fix(q, p.index-1)
	}
}

func (q *queue) drop(p *pair) {
	if p.index > 0 {
		heap.Remove(q, p.index-1)
	}
}

// budget bounds what is tried on trails that do not answer, of all pairs together.
type budget struct {
	left float64
	at   time.Time
}

// Probes a second, and how many at once.
const (
	budgetRate = 2000
	budgetMost = 1000
)

func (b *budget) take(now time.Time) bool {
	if b.at.IsZero() {
		b.left = budgetMost
	} else {
		b.left = min(budgetMost, b.left+now.Sub(b.at).Seconds()*budgetRate)
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
