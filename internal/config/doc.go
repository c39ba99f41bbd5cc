// Package config reads the configuration file: YAML text in, server specs and
// typed sections out, or every mistake of the file at once.
//
// The file is MCP Hangar's, with a few keys of our own (cwd, start_timeout_s,
// execution.max_parallel_starts, reload, and the keys of supervision: restart,
// max_restarts, period_s, backoff, strategy, depends_on). A file passes five gates, in this
// order, so that hostile input is refused before it costs anything:
//
//	text       size and number of separators      bounds.go
//	syntax     one YAML document                  syntax.go
//	tree       duplicate keys, tags, ${VAR}       tree.go, interpolate.go
//	expansion  nodes, depth, bytes with aliases   bounds.go
//	schema     types, ranges, unknown keys        decode.go, sections*.go
//
// The schema is the struct tags of the section types and nothing else: key,
// default, bounds and allowed words stand there once (plan.go reads them).
//
// The way back is the writer (write*.go): sections to YAML by the same tags,
// keys sorted, defaults left out, secrets hidden as the reader of the text
// demands. Export writes them as ${VAR}, Document as stars, and TextDiff says
// only that they differ. Diff compares two configurations by meaning, and
// says which changes a running instance sees (tag apply).
//
// Three outcomes must not be confused. A Fault refuses the file. A Warning is
// told and the file is used. Config.Unsupported lists what is valid in the
// contract but not built in this version: a caller must refuse to start with
// it, because a switched-on feature that is silently absent (authentication,
// say) is worse than no start.
//
// Values never appear in the text of a fault when their key is sensitive or
// when they came out of the environment.
package config
