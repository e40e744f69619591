// Package lint holds the project's own rules as a test: who may import whom, and which calls the libraries never
// make. Run it with make lint or go test ./internal/lint.
package lint
