package size

import (
	"errors"
	"math"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "512": 512, "4096B": 4096, "4k": 4096, "4K": 4096, "4KiB": 4096, "4kib": 4096, "4kB": 4000, "4KB": 4000,
		"64GiB": 64 << 30, "1.5GiB": 3 << 29, "0.5k": 512, "10GB": 1e10, "1T": 1 << 40, "2 MiB": 2 << 20, "1P": 1 << 50,
		"9223372036854775807": math.MaxInt64,
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", " ", "k", "-1", "+1", "1e3", "1.5", "1..5k", ".5k", "5.k", "1KK", "1kiBB", "1X", "0x10",
		"8388608T", "9223372036854775808", "1.0001k", "99999999999999999999P"} {
		if got, err := Parse(text); !errors.Is(err, ErrSyntax) {
			t.Errorf("Parse(%q) = %d, %v; want ErrSyntax", text, got, err)
		}
	}
}

func TestFormat(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1000: "1000", 1024: "1KiB", 1536: "1536", 1536 << 20: "1536MiB", 64 << 30: "64GiB"} {
		if got := Format(n); got != want {
			t.Errorf("Format(%d) = %q; want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1536: "1.5KiB", 1<<20 - 1: "1.0MiB", 3 << 40: "3.0TiB"} {
		if got := Human(n); got != want {
			t.Errorf("Human(%d) = %q; want %q", n, got, want)
		}
	}
}

func TestValue(t *testing.T) {
	var v Value
	if err := v.Set("2MiB"); err != nil || v != 2<<20 || v.String() != "2MiB" {
		t.Fatal(v, err)
	}
	if err := v.Set("two"); err == nil || v != 2<<20 {
		t.Fatal("a bad text must leave the value as it was")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1.5GiB")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil {
			return
		}
		if back, err := Parse(Format(n)); n < 0 || err != nil || back != n {
			t.Fatalf("Parse(%q) = %d, Format = %q, back = %d, %v", text, n, Format(n), back, err)
		}
	})
}
