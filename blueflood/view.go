package blueflood

import (
	"encoding/json"
	"time"
)

// Resolution is how finely a view is cut.
type Resolution string

// The resolutions that Blueflood keeps: every point as sent, and roll-ups over so many minutes.
const (
	Full    Resolution = "FULL"
	Min5    Resolution = "MIN5"
	Min20   Resolution = "MIN20"
	Min60   Resolution = "MIN60"
	Min240  Resolution = "MIN240"
	Min1440 Resolution = "MIN1440"
)

// Field names something that a point of a view can hold.
type Field string

// The fields that a view can be asked for.
const (
	FieldAverage     Field = "average"
	FieldVariance    Field = "variance"
	FieldMin         Field = "min"
	FieldMax         Field = "max"
	FieldNumPoints   Field = "numPoints"
	FieldLatest      Field = "latest"
	FieldRate        Field = "rate"
	FieldSum         Field = "sum"
	FieldPercentiles Field = "percentiles"
	FieldType        Field = "type"
)

// View is one metric over a span of time.
type View struct {
	Unit   string      `json:"unit"` // "unknown" when no point named one
	Values []ViewPoint `json:"values"`
}

// MetricView is one metric's part of a multi view.
type MetricView struct {
	Metric string      `json:"metric"`
	Unit   string      `json:"unit"`
	Type   string      `json:"type"`
	Values []ViewPoint `json:"data"`
}

// ViewPoint is one point of a view: a point as it was sent, or a roll-up of the points from its time on. Fields that
// the server did not send are nil.
type ViewPoint struct {
	Timestamp   int64           `json:"timestamp"` // Unix milliseconds
	NumPoints   int64           `json:"numPoints"` // 1 for a point as it was sent
	Average     *float64        `json:"average"`   // the value itself for a point as it was sent
	Variance    *float64        `json:"variance"`
	Min         *float64        `json:"min"`
	Max         *float64        `json:"max"`
	Latest      *float64        `json:"latest"`
	Rate        *float64        `json:"rate"`
	Sum         *float64        `json:"sum"`
	Percentiles json.RawMessage `json:"percentiles"`
	Type        string          `json:"type"`
}

// Time is the point's time in UTC.
func (p *ViewPoint) Time() time.Time { return time.UnixMilli(p.Timestamp).UTC() }

// FoundMetric is one result of Search.
type FoundMetric struct {
	Metric string `json:"metric"`
	Unit   string `json:"unit"` // empty when the server knows none
}

// FoundName is one result of SearchNames.
type FoundName struct {
	Name     string
	Complete bool // a metric, not only the beginning of some
}
