// Package jsonpath is the part of kubectl's JSONPath that scripts use: fields,
// indices, [*] and quoted keys inside braces, with text around them.
//
//	{.metadata.name}   {.spec.clusterCIDRs[0]}   {.items[*].metadata.name}{"\n"}
//
// A field that is not there gives nothing, as in kubectl. Loops (range), filters,
// slices and recursive descent are refused with an error that names them: jq does
// these better.
//
// Paths are bounded in length and never fail on data, only when they are parsed.
package jsonpath
