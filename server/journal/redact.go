package journal

import "regexp"

// secrets are what must not stand in a journal wherever it came from: an operator
// may paste a token into any field, and an error then repeats it.
var secrets = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|$)` +
	`|(weft[a-z]*[0-9]*\.[0-9a-f]{8,}\.[a-z2-7]+\.)[a-z2-7]{16,}`)

// Redact replaces join tokens' secrets and private keys in a text by (secret).
func Redact(s string) string { return secrets.ReplaceAllString(s, "${2}(secret)") }
