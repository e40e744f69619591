package kv

// The reserve, from the bottom up. What stands in a line may go on until less than that and all above it is free:
//
//	ROOM          FOR                                                  WHO MAY USE IT
//	flushes       two fresh logs, a MANIFEST that grows and rolls,      log, MANIFEST and flushes: never refused, bounded
//	              and every memtable as a table                         by the memtables
//	compaction    the largest compaction there can be                   compactions, for as long as they run
//	deletes       two memtables of them, and what Sets that were let    Delete, DeleteRange, batches of those; compactions
//	              in before still take: their memtables as tables,
//	              while the engine keeps the logs to use them again
//	everything else                                                     Set; compactions
//
// What L0 and the base level have more than the compaction's room is for adds to that of the Sets: see decision 005.
//
// No write is let in that logs and flushes could not finish, and none that would leave less than one compaction takes:
// whatever is deleted can be compacted away afterwards, one compaction at a time. A compaction gives back what it took
// when it ends; who finds its room taken meanwhile waits for that.
const (
	logMemTables        = 2.5                              // two logs of 1.1 memtables, and slack
	deleteMemTables     = 4 + memTablesInMemory            // two of deletes, each in a log and in a table, and the Sets'
	l0MemTables         = 2 * l0CompactionFiles            // L0 when compactions keep up
	topMemTables        = l0MemTables + baseLevelMemTables // L0 into the base level
	compactionMemTables = 16                               // that, or a table of a memtable's size and the dozen it overlaps, in clusters
	slackClusters       = 16                               // files are whole clusters
	maxReserveFraction  = 2                                // of the device: never more than half
	likelyExtraFraction = 8                                // of the device: a backlog seldom needs more than that
)

// floors are numbers of bytes that must be available for a purpose.
type floors struct {
	flushFloor  int64 // compactions leave this alone
	deleteFloor int64 // deletes leave this alone
	reserve     int64 // Sets leave this alone
	backlogRoom int64 // bytes of L0 and the base level that the room for compactions is for
	likelyExtra int64 // what a backlog may add to the reserve before anybody looks at it again
	memTables   int64 // bytes of memtables that there is room for
	stopWrites  int   // layers in L0 that stop writers
}

// floorsFor sizes the reserve for a device of total bytes and a memtable size, within half of what there is in all.
func floorsFor(total, memTable int64, cluster int) floors {
	logs := int64(logMemTables*float64(memTable)) + 2*maxManifestSize(memTable) + slackClusters*int64(cluster)
	var f floors
	f.memTables = memTablesInMemory * memTable
	f.flushFloor = logs + f.memTables
	f.deleteFloor = f.flushFloor + compactionMemTables*memTable
	f.reserve = f.deleteFloor + deleteMemTables*memTable
	f.backlogRoom = topMemTables * memTable
	f.stopWrites = stopWritesFiles(total, memTable)
	// A layer of L0 is one flush, which takes all the memtables that are full by then.
	f.likelyExtra = min(int64(f.stopWrites)*memTablesInMemory*memTable, total/likelyExtraFraction)

	if full, limit := f.reserve, total/maxReserveFraction; full > limit {
		f.flushFloor = scale(f.flushFloor, limit, full)
		f.deleteFloor = scale(f.deleteFloor, limit, full)
		f.backlogRoom = scale(f.backlogRoom, limit, full)
		f.reserve = limit
	}
	return f
}

// compactionRoom is the part of the reserve that is for a compaction.
func (f *floors) compactionRoom() int64 { return f.deleteFloor - f.flushFloor }

// scale is n*num/den without overflow for any device size.
func scale(n, num, den int64) int64 { return int64(float64(n) * float64(num) / float64(den)) }
