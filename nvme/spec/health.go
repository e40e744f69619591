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

// Warnings puts CriticalWarning in words; nil when all is well.
func (s *SMART) Warnings() (texts []string) {
	for _, w := range warnings {
		if s.CriticalWarning&w.bit != 0 {
			texts = append(texts, w.text)
		}
	}
	return texts
}

// zeroCelsius is in kelvin, rounded as the specification does.
const zeroCelsius = 273

// NoCelsius is Celsius of a controller that reports no temperature, 0 K.
const NoCelsius = -zeroCelsius

// Celsius is the temperature of the controller in degrees Celsius.
func (s *SMART) Celsius() int { return int(s.Temperature) - zeroCelsius }

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
