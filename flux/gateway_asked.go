package flux

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// asked is what the query of a POST asks for, beside its body.
type asked struct {
	key                          string
	hasKey                       bool
	status, test, validate, fill bool
}

// askedBy reads a query: key, status, test, validate_key and fill. Other parameters are passed over, as the original
// passes over all of them.
func askedBy(rawQuery string) (a asked, err error) {
	if rawQuery == "" {
		return a, nil
	}
	q, _ := url.ParseQuery(rawQuery) // what is no parameter is passed over as well
	a.key, a.hasKey = q.Get("key"), q.Has("key")
	a.status = q.Has("status")
	a.test = q.Has("test") && ingest.Switch(q.Get("test"))
	a.validate = q.Has("validate_key") && ingest.Switch(q.Get("validate_key"))
	switch fill := q.Get("fill"); fill {
	case "true", "True":
		a.fill = true
	case "", "false", "False":
	default:
		err = &ingest.Error{Code: http.StatusBadRequest, Item: -1, Reason: ingest.ReasonQuery,
			Message: "invalid fill - " + strconv.QuoteToASCII(fill[:min(len(fill), 100)]) + " - true or false"}
	}
	return a, err
}

// apply adds to what a request asks for. A status needs no body and was given before.
func (a asked) apply(req *ingest.Request, p *ingest.Parser) {
	req.Test = req.Test || a.test
	req.ValidateKey = req.ValidateKey || a.validate
	if a.fill {
		p.FillAll()
	}
}
