// Package rig starts real servers for the interop tests: carbon-cache,
// carbon-relay, carbon-c-relay, graphite-web and redis-server as Debian ships
// them, the flux program of this module, and a sink, a Carbon of our own for loss
// tests, which may stand behind a network that loses packets.
//
// Every starter takes a testing.TB and follows one mechanism, [Start]:
//
//   - The server listens on free ports of 127.0.0.1 and keeps its files in the
//     test's temporary folder.
//   - The starter returns once the server has answered a real request. It polls
//     with a bound; it never waits for a fixed time.
//   - When the test ends, the server gets SIGTERM, and SIGKILL if it outlives
//     its bound. Only the process that was started is signalled, by its id.
//   - If the test failed, the end of the server's log is printed.
//
// A program that is missing fails the test, with the name of the Debian package
// that holds it. Nothing is skipped.
//
// [Forgetful] and CPUTime are for benchmarks, and start nothing but a goroutine.
//
// Methods without a testing.TB report to the test that started the server. Call
// them, as [testing.TB.FailNow] asks, from the goroutine of that test.
package rig
