"""Makes table.json.gz: what pandas makes of samples, for the tests. Run it with pandas 1.5."""
import gzip, json, math, random, struct, sys
import numpy as np
import pandas as pd

assert pd.__version__.startswith('1.5'), pd.__version__
random.seed(20251121)

def bits(v):
    return '%016x' % struct.unpack('>Q', struct.pack('>d', v))[0]

def run(samples, offset, aggregate, closed, label):
    ts = [t for t, v in samples if math.isfinite(v)]
    vs = [v for t, v in samples if math.isfinite(v)]
    s = pd.Series(vs, index=pd.to_datetime(ts, unit='ms'), dtype='float64')
    r = s.resample(offset, closed=closed, label=label, origin='epoch')
    out = getattr(r, aggregate)()
    n = r.count()
    return [[int(t.value // 10**6), bits(float(v)), int(c)] for t, v, c in zip(out.index, out.values, n.values)]

def irregular(n, start, step, spread):
    t, out = start, []
    for _ in range(n):
        t += random.choice([0, 1, step // 3, step, step, step, step + 7, random.randint(0, spread)])
        out.append((t, random.choice([random.uniform(-1, 1), random.gauss(1e9, 1e3), random.random() * 10 ** random.randint(-20, 20), float(random.randint(-9, 9)), 0.1, -0.0])))
    return out

cases = {
    'one': [(1700000000000, 1.5)],
    'on the edges': [(60000 * i, float(i)) for i in range(1, 9)],
    'before 1970': [(-200000 + 17000 * i, 0.1 * i) for i in range(30)],
    'gap': [(0, 1.0), (59999, 2.0), (60000, 4.0), (600000, 8.0), (3600000, 16.0)],
    'same time': [(1000, 3.0), (1000, 1.0), (1000, 2.0), (61000, 5.0), (61000, 4.0)],
    'not finite': [(0, math.nan), (1000, 1.0), (2000, math.inf), (61000, -math.inf), (122000, 2.0), (200000, math.nan)],
    'tenths': [(1000 * i, 0.1) for i in range(600)],
    'cancels': [(1000 * i, v) for i, v in enumerate([1e100, 1.0, -1e100, 3.0, 1e16, 1.0, -1e16] * 20)],
    'unsorted': [(t, float(t % 97)) for t in random.sample(range(0, 2000000, 333), 400)],
    'irregular': irregular(800, 1700000000000, 20000, 90000),
    'sparse': irregular(150, 1600000000123, 3600000, 9000000),
    'a year of days': [(86400000 * i + random.randint(0, 3600000), random.gauss(0, 1)) for i in range(365)],
}
table = []
for name, samples in cases.items():
    for offset in ['30s', '1Min', '5T', '1H', '1D', '7s']:
        span = max(t for t, _ in samples) - min(t for t, _ in samples)
        if span / pd.Timedelta(offset.replace('1Min', '1min')).total_seconds() / 1000 > 3000:
            continue
        for closed, label in [('left', 'left'), ('right', 'right'), ('left', 'right'), ('right', 'left')]:
            for aggregate in ['mean', 'sum', 'min', 'max', 'first', 'last', 'median', 'count']:
                if (closed, label) != ('left', 'left') and aggregate not in ('mean', 'first', 'count'):
                    continue
                out = [row for row in run(samples, offset, aggregate, closed, label)]
                table.append({'case': name, 'offset': offset, 'closed': closed, 'label': label, 'aggregate': aggregate,
                              'filled': len(out), 'bins': [row[:2] for row in out if row[2]]})
json.dump({'cases': {n: [[t, bits(v)] for t, v in s] for n, s in cases.items()}, 'table': table},
          gzip.open(sys.argv[1], 'wt', 9), separators=(',', ':'))
