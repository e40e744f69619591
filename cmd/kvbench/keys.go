package main

import "strconv"

// digits is how many decimal digits a non-negative number has.
func digits(n int64) int {
	return len(strconv.FormatInt(max(n, 0), 10))
}

// putKey writes the key with the given number: decimal, right-aligned, zeros on the left, so that keys sort like their
// numbers and every key has the same width.
func putKey(key []byte, n int64) {
	for i := len(key) - 1; i >= 0; i-- {
		key[i] = byte('0' + n%10)
		n /= 10
	}
}
