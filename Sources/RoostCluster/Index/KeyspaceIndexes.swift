import RoostCausality
import RoostEnvironment
import RoostStorage
import Synchronization

// How the indexes of a keyspace are kept:
//
// - The schema says of each index which extractor's version its entries come from, in which generation
//   of trees they are, and whether writes passed them by (stale).
// - A program that opens the keyspace and declares an index of the same version, not stale, has its
//   writes keep the entries, in the batch of the record. With another version, a stale one or a new
//   one, a new generation is begun, empty, and built in the background.
// - Each store builds its own part, in slices, and notes how far it is in the tree itself, behind the
//   entries of the slice. What it has passed and what it has not is kept up by writes alike.
// - A program that does not declare an index writes without it. Before its first write, that is
//   durable in the schema: the index is stale.
// - Where partitions move meanwhile, it is built anew in the stores that they move to, and only there.

/// The indexes that a program has declared of a keyspace. Shared by all that write its records.
///
/// Thread-safe.
final class KeyspaceIndexes: @unchecked Sendable {
  /// Changed with all key locks held: so whoever holds one sees one state.
  private(set) var kept: [KeptIndex] = []
  private let hasKept = Atomic<Bool>(false)
  /// Whether any is kept. For whoever holds a key lock.
  @inline(__always)
  var keepsAny: Bool { hasKept.load(ordering: .relaxed) }
  /// Whether the schema has indexes that are neither stale nor declared: a write has to wait until
  /// they are stale, a move until the receiver has to build them. Changed with the database's
  /// `topology` held.
  let hasUndeclared: Atomic<Bool>
  /// Most records of a slice when an index is built. Set before any is.
  var sliceRecords = 256

  init(_ schema: Schema.Keyspace) {
    hasUndeclared = Atomic(schema.indexes.contains { $0.state == .current })
  }

  /// With all key locks held.
  func keep(_ indexes: [KeptIndex]) {
    kept = indexes
    hasKept.store(!indexes.isEmpty, ordering: .relaxed)
  }
}

/// A declared index: its function, and its part in each store. Thread-safe.
final class KeptIndex: Sendable {
  let declaration: Index
  let generation: UInt64
  /// By member slot.
  let stores = PublishedSlots<StoreIndex>(capacity: DatabaseCore.slotLimit)

  init(_ declaration: Index, generation: UInt64) {
    self.declaration = declaration
    self.generation = generation
  }

  /// Opens the index in a member's store.
  func attach(_ part: KeyspacePart, keyspace: String) throws(DatabaseError) {
    let name = declaration.name
    let treeName = Self.tree(keyspace, name, generation)
    let opened = try storing("the index `\(name)` could not be opened in \(part.member.path)") {
      () throws(StoreError) in
      var options = TreeOptions()
      options.cutPrefixLength = StoredKey.prefixBytes
      let tree = try part.member.store.tree(treeName, options)
      return (tree: tree, progress: try tree.get(BuildRecord.key))
    }
    let progress = try opened.progress.map { bytes throws(DatabaseError) in
      try BuildRecord(decoding: bytes)
    }
    stores.publish(
      StoreIndex(opened.tree, progress ?? BuildRecord(isDone: false, position: [])),
      at: part.member.slot)
  }

  /// A store without records has nothing to build. Only where writes keep the index already: one that
  /// comes behind the look has its entries.
  func finishIfEmpty(_ part: KeyspacePart) throws(DatabaseError) {
    guard let here = stores[part.member.slot], !here.isDone.load(ordering: .acquiring) else { return }
    try storing("the index `\(declaration.name)` could not be begun in \(part.member.path)") {
      () throws(StoreError) in
      var cursor = try part.records.cursor()
      if try cursor.next() { return }
      let record = BuildRecord(isDone: true, position: [])
      try here.tree.put(BuildRecord.key, record.encoded(), .applied)
      here.advanced(record)
    }
  }

  static func prefix(_ keyspace: String) -> String { "index/\(keyspace)/" }

  package static func tree(_ keyspace: String, _ name: String, _ generation: UInt64) -> String {
    prefix(keyspace) + "\(name)/\(generation)"
  }
}

/// An index in one store. Thread-safe.
final class StoreIndex: @unchecked Sendable {
  let tree: Tree
  let isDone: Atomic<Bool>
  private let lock = Lock()
  // Guarded by `lock`.
  private var position: [UInt8]
  private var isScheduled = false
  private var failure: DatabaseError?

  init(_ tree: Tree, _ record: BuildRecord) {
    self.tree = tree
    isDone = Atomic(record.isDone)
    position = record.position
  }

  /// The last stored key that was looked at, and what the building last failed of.
  var progress: (position: [UInt8], failure: DatabaseError?) { lock.withLock { (position, failure) } }

  /// Whether a job is to be submitted now: none is under way, and there is something to do.
  func schedule() -> Bool {
    lock.withLock {
      if isScheduled || isDone.load(ordering: .acquiring) { return false }
      isScheduled = true
      failure = nil
      return true
    }
  }

  func advanced(_ record: BuildRecord) {
    lock.withLock {
      position = record.position
      if record.isDone {
        isScheduled = false
        isDone.store(true, ordering: .releasing)
      }
    }
  }

  /// The job ends here.
  func ended(_ error: DatabaseError?) {
    lock.withLock {
      isScheduled = false
      failure = error
    }
  }
}

// An index's tree has one record that is no entry, under the key FF FF, where no partition is:
//
//   build := version u8 (1) | state u8 (0 building, 1 done) | position lengthPrefixed
//
// The position is the last stored key (partition and key) of the keyspace's record tree that was
// looked at; empty at first and when done.

/// How far an index is built in a store. A value.
package struct BuildRecord: Equatable, Sendable {
  package static let key: [UInt8] = [0xFF, 0xFF]
  package var isDone: Bool
  package var position: [UInt8]

  package init(isDone: Bool, position: [UInt8]) {
    self.isDone = isDone
    self.position = position
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(byte: isDone ? 1 : 0)
    writer.write(lengthPrefixed: position)
    return writer.bytes
  }

  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "an index's build record")
    _ = try reader.readVersion(upTo: 1)
    isDone = try reader.readFlag()
    position = try reader.readLengthPrefixed()
    try reader.readEnd()
  }
}
