// Package deliver moves what stands in a queue to one destination: the one retry loop of fluxkit.
//
// A Worker reads records in order, hands batches to a Sender, and acknowledges them to the queue only when the sender
// confirmed them. When sending fails it waits, longer each time, and starts again from the last acknowledged point.
// A worker takes nothing from the queue in any other way: a point is delivered, or rejected and put on record with a
// reason, or it stays. What the queue itself drops, or finds damaged, the two accounts together show: see Stats.Balance.
package deliver
