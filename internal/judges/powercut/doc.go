// Package powercut cuts the power under an application again and again and lets it judge what is left.
//
// A disk in memory carries a blobfs. In each life of the disk the application works until the power dies at a random
// operation; what unflushed writes leave behind is drawn from the seed (lost, reordered, torn). The application then
// recovers, loses power meanwhile now and then, and says whether everything it was promised is there. The file system is
// checked before and after. Reading order: run.go, disk.go.
package powercut
