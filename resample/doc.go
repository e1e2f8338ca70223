// Package resample puts irregular samples into regular bins, by the rules of pandas 1.5 with origin='epoch': bins are
// multiples of their width since 1970 UTC, closed and labelled on the left unless the options say otherwise, and sums
// are compensated for rounding.
//
// Samples whose value is not finite are left out before anything else is done. Bins without a sample are left out, too,
// unless Options.Empty says what they hold; what lies before the first sample or after the last is never filled.
//
// Bins does it in one call. A Resampler does it for samples that come one by one, in constant memory for every
// aggregation but the median.
package resample
