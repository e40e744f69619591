package size

// Value is a byte count as a command line flag (flag.Value and pflag.Value).
type Value int64

// String prints the size as Parse reads it.
func (v *Value) String() string { return Format(int64(*v)) }

// Set reads a size.
func (v *Value) Set(text string) error {
	n, err := Parse(text)
	if err == nil {
		*v = Value(n)
	}
	return err
}

// Type is the name that help texts print.
func (v *Value) Type() string { return "size" }
