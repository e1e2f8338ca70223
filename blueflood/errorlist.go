package blueflood

import "encoding/json"

// parseErrorList reads the body of a 207, a 400 and the like: an object with one array, "errors". It returns nil when
// data is nothing of the kind, an older server's list in plain text included, or lists nothing.
func parseErrorList(data []byte) []ErrorEntry {
	var list struct {
		Errors []ErrorEntry `json:"errors"`
	}
	if json.Unmarshal(data, &list) != nil || len(list.Errors) == 0 {
		return nil
	}
	return list.Errors
}

// aboutPoint reports whether the entry is about one point, not about the request.
func (e *ErrorEntry) aboutPoint() bool { return e.Source != "" || e.Timestamp != nil }

// perPoint reports whether entries are about points, all of them.
func perPoint(entries []ErrorEntry) bool {
	for i := range entries {
		if !entries[i].aboutPoint() {
			return false
		}
	}
	return len(entries) > 0
}

// reason is the label for a point with the given time that the entry refuses. The server's two complaints about time
// read the same; the point's own time tells them apart.
func (e *ErrorEntry) reason(timestamp, now int64) string {
	switch e.Source {
	case "collectionTime":
		if timestamp > now {
			return ReasonInFuture
		}
		return ReasonTooOld
	case "metricName":
		return ReasonBadName
	case "metricValue":
		return ReasonBadValue
	case "ttlInSeconds":
		return ReasonBadTTL
	case "tenantId":
		return ReasonBadTenant
	}
	return ReasonRefused
}
