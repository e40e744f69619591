// Command crashsim cuts the power under the file system, again and again, and judges what recovery makes of it.
//
//	crashsim                       2,000 random cuts
//	crashsim -cuts 100000          so many
//	crashsim -sequences 2          every sequence of up to two operations, cut everywhere
//	crashsim -faults               fail every operation of the device, one after the other
//	crashsim -seed 7 -case "synced absent: append /a 100; sync /a"
//
// It prints its seed first and a line every second, stops at Ctrl-C, and ends with the counts. A failure prints the
// operations that led there and the command that does it again; the exit code is 1.
package main
