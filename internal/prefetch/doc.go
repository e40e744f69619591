// Package prefetch asks the processor for memory that will be used soon.
package prefetch
