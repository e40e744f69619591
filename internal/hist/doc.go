// Package hist is a latency histogram that any number of goroutines record into without a lock and without
// allocating. Buckets grow with the value: 32 per power of two, so a quantile is at most 3.2 % above the truth.
package hist
