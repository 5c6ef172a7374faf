// Package table prints rows under titles, as operators know them from kubectl:
// columns as wide as their widest cell, two spaces between them, cells of
// several lines, ages such as 41d or 2m10s, colours by meaning.
//
// It is pure: same rows, same bytes.
package table
