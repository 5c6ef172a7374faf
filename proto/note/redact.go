package note

import "regexp"

// secrets are what must not stand in what people hand around, wherever it came
// from: an operator may paste a token into any field, and an error then repeats
// it. Private keys in PEM, join tokens of weft and of K3s, passwords in URLs.
var secrets = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|$)` +
	`|(weft[a-z]*[0-9]*\.[0-9a-f]{8,}\.[a-z2-7]+\.)[a-z2-7]{16,}` +
	`|(K10[0-9a-f]{64}::)[^\s"']+` +
	`|(://[^\s/:@"']+:)[^\s/@"']+(@)`)

// Redact replaces the secrets in a text by (secret).
func Redact(s string) string { return secrets.ReplaceAllString(s, "${2}${3}${4}"+hidden+"${5}") }
