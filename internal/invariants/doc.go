// Package invariants says whether the build carries the expensive self-checks: go build -tags invariants.
package invariants
