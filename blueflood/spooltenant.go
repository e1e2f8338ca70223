package blueflood

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/fluxmetrics/fluxkit/internal/queue"
)

// tenantFile stands in SpoolDir and says whose points the queue beside it holds, which the records do not: the tenant in
// quotes and, behind a space, a CRC-32C of that in hexadecimal.
const tenantFile = "tenant"

var errTenantFile = errors.New("it is damaged")

// claimSpool makes sure that what SpoolDir holds is of this tenant, and notes whose the next points are.
func (c *EndpointConfig) claimSpool(q *queue.Queue) error {
	path := filepath.Join(c.SpoolDir, tenantFile)
	last, err := readTenant(path)
	pending := q.Stats().Points
	switch {
	case err == nil && last == c.Tenant:
		return nil
	case err == nil && pending > 0:
		return &SpoolTenantError{SpoolDir: c.SpoolDir, Points: pending, Tenant: last, Instead: c.Tenant}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		c.Logger.Warn("blueflood: cannot tell whose points the spool holds: they go to the tenant that is named now",
			"file", path, "error", err, "points", pending, "tenant", c.Tenant)
	}
	if err := writeTenant(path, c.Tenant); err != nil { // a full disk is no reason not to deliver
		_ = os.Remove(path) // better none than a wrong one
		c.Logger.Warn("blueflood: the spool does not note whose points it holds", "file", path, "error", err, "tenant", c.Tenant)
	}
	return nil
}

func tenantLine(tenant string) string {
	quoted := strconv.QuoteToASCII(tenant)
	return fmt.Sprintf("%s %08x\n", quoted, crc32.Checksum([]byte(quoted), crc32.MakeTable(crc32.Castagnoli)))
}

func readTenant(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	text := string(b)
	tenant, err := strconv.Unquote(text[:max(0, strings.LastIndexByte(text, ' '))])
	if err != nil || text != tenantLine(tenant) {
		return "", errTenantFile
	}
	return tenant, nil
}

// writeTenant replaces the file, for good once it has returned nil.
func writeTenant(path, tenant string) error {
	next := path + ".next"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(tenantLine(tenant))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
