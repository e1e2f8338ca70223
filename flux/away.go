package flux

// Away is what becomes of points while the dedup store does not answer.
type Away uint8

const (
	// AwayHold waits for it: an HTTP request for as long as DedupConfig.AwayWait, then it is answered 503; a carbon input
	// for as long as it takes. Nothing is accepted unjudged.
	AwayHold Away = iota
	// AwayDeliver accepts them without judging them, so that they may be delivered twice.
	AwayDeliver
	// AwayRefuse refuses them at once, with 503. A carbon input waits as with AwayHold, since nobody else has its points.
	AwayRefuse
)
