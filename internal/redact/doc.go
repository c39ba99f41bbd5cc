// Package redact takes secrets out of text that people will see: events, crash
// dossiers, the API. What is a secret is told by the name it stands under, by
// its form, or because a server was given it in its environment or arguments.
//
// It errs on the side of hiding: a value that only might be a secret goes too.
package redact
