import RoostStorage

/// Statistics for programs. Members are only ever added.
enum StatsJSON {
  static func append(_ s: StoreStatistics, to json: inout JSONWriter) {
    json.beginObject()
    json.member("identity", s.identity)
    json.member("lastSequence", s.lastSequence)
    json.member("manifestNumber", s.manifestNumber)
    json.name("trees")
    json.beginArray()
    for tree in s.trees { append(tree, to: &json) }
    json.endArray()
    json.name("snapshots")
    json.beginArray()
    for snapshot in s.snapshots {
      json.beginObject()
      json.member("sequence", snapshot.sequence)
      json.member("ageNanoseconds", snapshot.ageNanoseconds)
      json.endObject()
    }
    json.endArray()
    json.member("logSegments", s.logSegments)
    json.member("logBytes", s.logBytes)
    json.member("openTables", s.openTables)
    json.member("cacheHits", s.cacheHits)
    json.member("cacheMisses", s.cacheMisses)
    json.member("cacheBytes", s.cacheBytes)
    json.member("flushes", s.flushes)
    json.member("flushedBytes", s.flushedBytes)
    json.member("compactions", s.compactions)
    json.member("tableMoves", s.tableMoves)
    json.member("compactionBytesRead", s.compactionBytesRead)
    json.member("compactionBytesWritten", s.compactionBytesWritten)
    json.member("syncs", s.syncs)
    json.name("stalls")
    json.beginObject()
    json.member("count", s.stalls.count)
    json.member("flushNanoseconds", s.stalls.flush)
    json.member("compactionNanoseconds", s.stalls.compaction)
    json.member("slowdownNanoseconds", s.stalls.slowdown)
    json.endObject()
    append(s.recovery, to: &json)
    json.name("failure")
    if let failure = s.failure { json.value(Failure.line(failure)) } else { json.valueNull() }
    json.endObject()
  }

  private static func append(_ tree: StoreStatistics.TreeStatistics, to json: inout JSONWriter) {
    json.beginObject()
    json.member("name", tree.name)
    json.member("entries", tree.entries)
    json.member("tableBytes", tree.byteCount)
    json.member("memtableBytes", tree.memtableBytes)
    json.member("memtableEntries", tree.memtableEntries)
    json.member("immutableMemtables", tree.immutableMemtables)
    json.name("levels")
    json.beginArray()
    for level in tree.levels {
      json.beginObject()
      json.member("level", level.level)
      json.member("tables", level.tables)
      json.member("bytes", level.byteCount)
      json.member("entries", level.entries)
      json.member("deletes", level.deletes)
      json.member("rangeTombstones", level.rangeTombstones)
      json.member("targetBytes", level.targetBytes)
      json.endObject()
    }
    json.endArray()
    json.endObject()
  }

  private static func append(_ recovery: RecoveryReport, to json: inout JSONWriter) {
    json.name("recovery")
    json.beginObject()
    json.member("records", recovery.records)
    json.member("operations", recovery.operations)
    json.member("bytes", recovery.bytes)
    json.name("tornTail")
    if let tail = recovery.tornTail {
      json.beginObject()
      json.member("file", tail.file)
      json.member("offset", tail.offset)
      json.member("bytes", tail.byteCount)
      json.endObject()
    } else {
      json.valueNull()
    }
    json.endObject()
  }
}
