package flux

// Stats is a server's account since it was made. Received = Accepted + Duplicate + Late + the sum of Rejected, exactly
// so when nothing is going on.
type Stats struct {
	Received  uint64
	Accepted  uint64
	Duplicate uint64
	Late      uint64
	Rejected  map[string]uint64 // by reason
	// Unjudged counts those of the accepted points that the dedup store was not there to judge, under AwayDeliver: some of
	// them may be delivered twice.
	Unjudged uint64
	// StoreDown is true while the dedup store does not answer, or does not take marks.
	StoreDown bool
	// Unread counts requests that could not be read as points, by reason: what they held is in no other sum.
	Unread map[string]uint64

	// Destinations has Config.Destination first, then each of Config.Also; of a destination with Tenants, each tenant, its
	// own first.
	Destinations []DestinationStats
	// DeadLetter is what the dead-letter file holds.
	DeadLetter DeadLetterStats
	// SharedTimestamps counts points of an input that overwrites timestamps which got the same millisecond as another
	// point of their series, because too many of that series came at once or too many series did.
	SharedTimestamps uint64
}

// DeadLetterStats is the state of the dead-letter file. What earlier servers left in it counts.
type DeadLetterStats struct {
	Points  int64 // in the file
	Bytes   int64
	Dropped int64 // points that the bound cost, since this server was made
}
