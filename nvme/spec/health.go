package spec

import "math"

// warnings are the bits of SMART.CriticalWarning in words.
var warnings = []struct {
	bit  uint8
	text string
}{
	{WarnSpare, "spare blocks are running out"},
	{WarnTemperature, "temperature is out of range"},
	{WarnReliability, "reliability is degraded"},
	{WarnReadOnly, "media is read-only"},
	{WarnVolatileFail, "backup of volatile memory has failed"},
	{WarnPMR, "persistent memory region is unreliable"},
}

// Warnings puts CriticalWarning in words; empty, and not nil, when all is well.
func (s *SMART) Warnings() []string {
	texts := []string{}
	for _, w := range warnings {
		if s.CriticalWarning&w.bit != 0 {
			texts = append(texts, w.text)
		}
	}
	return texts
}

// zeroCelsius is in kelvin, rounded as the specification does.
const zeroCelsius = 273

// Celsius is the temperature of the controller in degrees Celsius, nil for one that reports none, which is 0 K.
func (s *SMART) Celsius() *int {
	if s.Temperature == 0 {
		return nil
	}
	return new(int(s.Temperature) - zeroCelsius)
}

// dataUnit is what a data unit of the SMART log has in bytes (base 2.0, figure 207).
const dataUnit = 512_000

// DataUnitBytes is a number of data units in bytes, at most what 64 bits hold.
func DataUnitBytes(units Uint128) uint64 {
	n := units.Saturated()
	if n > math.MaxUint64/dataUnit {
		return math.MaxUint64
	}
	return n * dataUnit
}
