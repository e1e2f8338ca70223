package bluefloodtest

import (
	"bytes"
	"encoding/json"
)

// errorEntry is one entry of an error list, with its keys in the server's order.
type errorEntry struct {
	TenantID   string  `json:"tenantId"`
	Timestamp  *int64  `json:"timestamp"`
	MetricName string  `json:"metricName"`
	Source     *string `json:"source"`
	Message    string  `json:"message"`
}

// errorList answers with entries about points.
func errorList(status int, entries []errorEntry) *response {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(map[string]any{"errors": entries}) // strings and integers always encode
	return &response{status: status, body: bytes.TrimSuffix(b.Bytes(), []byte("\n"))}
}

// wholeError answers with one entry about the request.
func wholeError(status int, tenant, message string) *response {
	return errorList(status, []errorEntry{{TenantID: tenant, Message: message}})
}
