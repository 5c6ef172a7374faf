// Package note is what weft writes down for people: the dictionary of log keys,
// so that one search finds one fact everywhere, Secret, which cannot be written
// down by accident, and the release's version.
package note
