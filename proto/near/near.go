package near

import "strings"

// longest is how many bytes of a name count: none of ours is longer.
const longest = 64

// Name is the one of some names that differs from what was typed by case, or by two
// letters and a third of them at most. Of a name it is less than a half.
func Name(typed string, names []string) (string, bool) {
	typed = strings.ToLower(typed[:min(len(typed), longest)])
	best, least := "", max(2, len(typed)/3)+1
	for _, n := range names {
		if d := distance(typed, strings.ToLower(n)); d < least && 2*d < len(n) {
			best, least = n, d
		}
	}
	return best, best != ""
}

// distance counts the insertions, deletions and replacements of bytes between two
// names (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
