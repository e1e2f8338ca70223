package flux

import (
	"path/filepath"
	"regexp"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// Destination is where points go: either Carbon or Blueflood is set. Their Delivered, Failed and Recovered may be set;
// they are called after the server's own. Their DropOldest is the server's to set.
type Destination struct {
	Carbon    *graphite.ClientConfig
	Blueflood *blueflood.EndpointConfig
	// Tenants choose Blueflood's tenant by a metric's name: the first rule that matches decides, and
	// EndpointConfig.Tenant has what none matches. Each tenant has a queue of its own.
	Tenants []TenantRule
	// Name tells destinations apart, in Stats, in logs and as the subdirectory of SpoolDir: letters, digits, - and _.
	// Default "carbon" or "blueflood", and for those after the first of a kind with -2, -3 behind it. A tenant of
	// Tenants has its own behind the name, with a dash between and whatever is not a letter, a digit, - . or _ as %XX.
	// While the subdirectory holds points of another tenant, New returns an error that wraps *blueflood.SpoolTenantError.
	Name string
	// Required makes one of Config.Also required.
	Required bool
}

// TenantRule gives metrics to a tenant.
type TenantRule struct {
	// Pattern is a regular expression (RE2) that matches somewhere in the name, as in carbon's rules. The name is without
	// EndpointConfig.Prefix.
	Pattern string
	Tenant  string
}

// plan is a destination as it is to be opened: an outlet a queue, and the rules that choose among them.
type plan struct {
	name     string
	required bool
	outlets  []outletPlan
	rules    *tenantRules // nil: the first outlet has all
}

// outletPlan is one queue and its client: either carbon or blueflood is set.
type outletPlan struct {
	name        string
	destination string // the name of
	rule        int    // the first that names the tenant, counted from 1; 0: none
	pattern     string
	carbon      *graphite.ClientConfig
	blueflood   *blueflood.EndpointConfig
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// plans checks the destinations and fills in what they leave to Config.
func (c *Config) plans() ([]plan, error) {
	var out []plan
	taken := map[string]bool{}
	kinds := map[string]int{}
	for i, d := range append([]Destination{c.Destination}, c.Also...) {
		if (d.Carbon == nil) == (d.Blueflood == nil) {
			return nil, configError("destination %d: exactly one destination is needed, Carbon or Blueflood", i+1)
		}
		kind := "carbon"
		if d.Blueflood != nil {
			kind = "blueflood"
		}
		kinds[kind]++
		if d.Name == "" {
			d.Name = kind + suffix(kinds[kind])
		}
		if !nameForm.MatchString(d.Name) {
			return nil, configError("name %q of destination %d: use letters, digits, - and _", d.Name, i+1)
		}
		p, err := c.plan(d)
		if err != nil {
			return nil, err
		}
		p.required = i == 0 || d.Required
		if p.required && p.dropsOldest() {
			return nil, configError("destination %q is required and so cannot drop its oldest points: leave DropOldest to the server", d.Name)
		}
		for _, o := range p.outlets {
			if taken[o.name] {
				return nil, configError("two destinations, or a destination and a tenant, have the name %q: give them others", o.name)
			}
			taken[o.name] = true
		}
		out = append(out, p)
	}
	if n := required(out); n > dedup.MaxRequired {
		return nil, configError("%d destinations are required, and at most %d can be", n, dedup.MaxRequired)
	}
	return out, nil
}

// plan is what becomes of one destination.
func (c *Config) plan(d Destination) (plan, error) {
	p := plan{name: d.Name}
	if d.Carbon != nil {
		if len(d.Tenants) > 0 {
			return p, configError("destination %q is a Carbon, which knows no tenants", d.Name)
		}
		cfg := *d.Carbon
		c.fill(d.Name, &cfg.SpoolDir, &cfg.SpoolMax, &cfg.MemoryMax)
		p.outlets = []outletPlan{{name: d.Name, destination: d.Name, carbon: &cfg}}
		return p, nil
	}
	tenants, err := p.compile(d)
	if err != nil {
		return p, err
	}
	for i, t := range tenants {
		cfg := *d.Blueflood
		o := outletPlan{name: d.Name, destination: d.Name, rule: t.rule, pattern: t.pattern, blueflood: &cfg}
		if i > 0 {
			cfg.Tenant = t.name
			o.name += "-" + escapeTenant(t.name)
			if cfg.SpoolDir != "" {
				cfg.SpoolDir += "-" + escapeTenant(t.name)
			}
		}
		c.fill(o.name, &cfg.SpoolDir, &cfg.SpoolMax, &cfg.MemoryMax)
		p.outlets = append(p.outlets, o)
	}
	return p, nil
}

// fill puts in what a client's configuration leaves to Config.
func (c *Config) fill(name string, dir *string, spoolMax, memoryMax *int64) {
	if *dir == "" && c.SpoolDir != "" {
		*dir = filepath.Join(c.SpoolDir, name)
	}
	*spoolMax = orDefault(*spoolMax, c.SpoolMax)
	*memoryMax = orDefault(*memoryMax, c.MemoryMax)
}

func (p *plan) dropsOldest() bool {
	for _, o := range p.outlets {
		if o.carbon != nil && o.carbon.DropOldest || o.blueflood != nil && o.blueflood.DropOldest {
			return true
		}
	}
	return false
}

// bound is how many bytes the outlet's queue may take, 0 for the client's default, and where it is kept on a disk.
func (o *outletPlan) bound() (bytes int64, dir string) {
	if o.carbon != nil {
		bytes, dir = o.carbon.MemoryMax, o.carbon.SpoolDir
		if dir != "" {
			bytes = o.carbon.SpoolMax
		}
		return bytes, dir
	}
	bytes, dir = o.blueflood.MemoryMax, o.blueflood.SpoolDir
	if dir != "" {
		bytes = o.blueflood.SpoolMax
	}
	return bytes, dir
}
