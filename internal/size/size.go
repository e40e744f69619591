package size

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// ErrSyntax is returned when a text is not a size.
var ErrSyntax = errors.New("not a size (examples: 4096, 4k, 512MiB, 1.5GiB, 10GB)")

const letters = "kmgtp"

// Parse reads a byte count. Fractions are accepted where they make a whole number of bytes. Signs, empty text,
// unknown units and counts beyond 2^63-1 are ErrSyntax.
func Parse(text string) (int64, error) {
	number, unit := split(strings.TrimSpace(text))
	factor, ok := unitBytes(strings.ToLower(unit))
	if !ok || !isNumber(number) {
		return 0, fmt.Errorf("%q: %w", text, ErrSyntax)
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n > math.MaxInt64/factor {
			return 0, fmt.Errorf("%q: more than 8 EiB: %w", text, ErrSyntax)
		}
		return n * factor, nil
	}
	return parseFraction(text, number, factor)
}

// split cuts a text where the number ends.
func split(text string) (number, unit string) {
	i := strings.IndexFunc(text, func(c rune) bool { return (c < '0' || c > '9') && c != '.' })
	if i < 0 {
		return text, ""
	}
	return text[:i], strings.TrimSpace(text[i:])
}

// isNumber accepts digits with at most one point inside; it bounds the length so that no text costs much.
func isNumber(s string) bool {
	if s == "" || len(s) > 40 || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	return strings.Count(s, ".") <= 1
}

func parseFraction(text, number string, factor int64) (int64, error) {
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, fmt.Errorf("%q: %w", text, ErrSyntax)
	}
	r.Mul(r, new(big.Rat).SetInt64(factor))
	if !r.IsInt() || !r.Num().IsInt64() {
		return 0, fmt.Errorf("%q: not a whole number of bytes, or more than 8 EiB: %w", text, ErrSyntax)
	}
	return r.Num().Int64(), nil
}

// unitBytes gives the factor of a lower-case unit.
func unitBytes(unit string) (int64, bool) {
	if unit == "" || unit == "b" {
		return 1, true
	}
	power := strings.IndexByte(letters, unit[0]) + 1
	if power == 0 {
		return 0, false
	}
	switch unit[1:] {
	case "", "ib":
		return pow(1024, power), true
	case "b":
		return pow(1000, power), true
	}
	return 0, false
}

func pow(base int64, n int) int64 {
	v := int64(1)
	for range n {
		v *= base
	}
	return v
}

// Format prints a byte count exactly, in the largest binary unit that divides it: 64GiB, 1536MiB, 1000. Parse reads
// it back to the same number.
func Format(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10)
	}
	power := 0
	for n%1024 == 0 && power < len(letters) {
		n /= 1024
		power++
	}
	return strconv.FormatInt(n, 10) + unitName(power)
}

// Human prints a byte count in about four characters and a unit, rounded, for people to read.
func Human(n int64) string {
	v, power := float64(n), 0
	for math.Abs(v) >= 1023.95 && power < len(letters) {
		v /= 1024
		power++
	}
	if power == 0 {
		return strconv.FormatInt(n, 10) + "B"
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + unitName(power)
}

func unitName(power int) string {
	if power == 0 {
		return ""
	}
	return strings.ToUpper(letters[power-1:power]) + "iB"
}
