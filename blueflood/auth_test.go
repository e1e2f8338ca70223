package blueflood_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
)

func TestBasicAndBearerAuth(t *testing.T) {
	r := request(t, t.Context())
	require.NoError(t, blueflood.BasicAuth("Aladdin", "open sesame").Authorize(r))
	require.Equal(t, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", r.Header.Get("Authorization"))
	user, password, ok := r.BasicAuth()
	require.Equal(t, []any{"Aladdin", "open sesame", true}, []any{user, password, ok})

	auth := blueflood.BearerAuth("mF_9.B5f-4.1JqM")
	require.NoError(t, auth.Authorize(r))
	require.Equal(t, []string{"Bearer mF_9.B5f-4.1JqM"}, r.Header.Values("Authorization"), "it replaces")
	require.False(t, auth.Refused(r, 401))

	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", auth)
		fmt.Fprintf(&out, verb+"\n", blueflood.EndpointConfig{Auth: auth})
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "auth", auth)
	fmt.Fprintln(&out, auth.String(), auth.GoString())
	require.NotContains(t, out.String(), "mF_9")
	require.NotContains(t, out.String(), fmt.Sprintf("%x", "mF_9"))
	require.Contains(t, out.String(), "HeaderAuth(Authorization)")
}
