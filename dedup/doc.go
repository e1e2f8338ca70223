// Package dedup decides whether a datapoint has been delivered before.
//
// The rule is Skyline Flux's: each metric has a high-water mark, the newest
// timestamp that was delivered; a point at the mark is a duplicate, a point
// below it is late. What differs from the original is when the mark rises:
// here it follows delivery, so that a point which was accepted but lost with
// the process is not thrown away when the client sends it again.
//
// A [Store] holds the marks: [Memory] in the process, [Redis] in a server that
// several gateways and Skyline itself may share. A [Filter] judges the points
// of a request, remembers what is accepted and not yet delivered, and raises
// the marks once every required destination has it. An [Editor] lets people look at
// marks and mend them.
//
// Timestamps are Unix milliseconds throughout. Metric names are compared byte
// for byte; the caller brings them into canonical form.
package dedup
