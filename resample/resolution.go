package resample

// resolutionSamples is how many of a series' newest samples tell its resolution.
const resolutionSamples = 30

// Resolution is the distance in time that is most common between neighbours among the newest 30 samples, in
// milliseconds; of several that are equally common it is the one that comes first. It is 0 where there is none above 0.
// The samples must be in the order of time.
func Resolution(samples []Sample) int64 {
	samples = samples[max(0, len(samples)-resolutionSamples):]
	var gaps [resolutionSamples]struct {
		width int64
		times int
	}
	kinds, best := 0, 0
	for i := 1; i < len(samples); i++ {
		width := samples[i].Timestamp - samples[i-1].Timestamp
		k := 0
		for k < kinds && gaps[k].width != width {
			k++
		}
		if k == kinds {
			gaps[k].width = width
			kinds++
		}
		gaps[k].times++
	}
	for k := range kinds {
		if gaps[k].times > gaps[best].times {
			best = k
		}
	}
	return max(0, gaps[best].width)
}
