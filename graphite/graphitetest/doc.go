// Package graphitetest is Carbon in process, for tests and demonstrations: it takes points by line over TCP, pickle
// over TCP and line over UDP, each on a port of its own on 127.0.0.1, and answers a render API over what it took.
//
// It behaves as carbon-cache does where a sender can tell: it reads a connection to its end and only then closes it,
// drops NaN, reads a timestamp of -1 as now, skips a bad line and hangs up on a timestamp that is no number. It parses
// with package strings and og-rek, never with fluxkit's own codecs, so that it cannot share their bugs.
//
// A test sets its clock and makes it misbehave: see Stream.
package graphitetest
