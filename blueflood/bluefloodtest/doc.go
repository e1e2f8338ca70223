// Package bluefloodtest is a Blueflood that runs inside a test or a program: its ingest API and its query API, over
// real sockets, with its validators, its error lists and its habits. Nothing needs to be installed.
//
// It answers as a Blueflood 2.1 does: what that one answered to some eighty requests is recorded in testdata, and a
// test replays the record. Among the habits are
//
//   - a body of more than 1,048,576 bytes after inflation is never answered, and the connection stays usable;
//   - a wrong path is 404, a slash too many included; GET on an ingest path is 405, PUT is 501;
//   - a client that sends a tenantId header writes to that tenant, whatever the path says;
//   - an answer has no Content-Type and no Date.
//
// It is no store for production: points live in memory, the oldest are dropped beyond Options.KeepPoints. It has no
// aggregated ingest and no events (404), and it rolls points up when it is asked for them, without the genuine delay.
//
// Faults are made by Queue and Fallback: any status, with Retry-After, an answer that comes late, never, or after the
// points are stored, a connection that is reset. The clock is the process's until SetTime stops it.
//
// A Keystone gives tokens, with faults of its own. A Server can stand behind it, and takes its tokens alone then.
//
// The package parses with encoding/json alone and shares no code with package blueflood, so that the two cannot agree
// on a mistake.
package bluefloodtest
