package flux

// Stats is a server's account since it was made. Received = Accepted + Duplicate + Late + the sum of Rejected, exactly
// so when nothing is going on.
type Stats struct {
	Received  uint64
	Accepted  uint64
	Duplicate uint64
	Late      uint64
	Rejected  map[string]uint64 // by reason

	// Destinations has Config.Destination first, then each of Config.Also; of a destination with Tenants, each tenant, its
	// own first.
	Destinations []DestinationStats
}
