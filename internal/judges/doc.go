// Package judges is a module of its own that puts applications nobody here wrote on blobfs and lets them judge it:
// they rely on a file system in ways our own tests do not think of, and they check their own data.
//
//   - sqlite: a SQLite file system on blobfs, with random SQL against a model, SQLite's integrity check after power
//     cuts, and a speed test;
//   - goleveldb: a goleveldb storage on blobfs, with random batches against a model and after power cuts;
//   - powercut: what both share, a blobfs on a disk whose power is cut again and again.
//
// The module keeps the judges and what they depend on out of go.mod of those who embed the store. Tests print their
// seed; JUDGES_SEED replays one, JUDGES_CUTS says how many power cuts there are.
package judges
