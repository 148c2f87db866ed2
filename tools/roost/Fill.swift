import ArgumentParser
import Roost
import RoostCluster
import RoostStorage

/// `roost fill`: writes generated records, and tells of each batch once it is acknowledged.
struct Fill: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write generated records, or check that they are there.",
    discussion: """
      Record i has as its key the 16 lower-case hexadecimal digits of splitmix64(i), and
      as its value bytes made from key and seed, half of which compress. A line
      `acked FROM TO` for each batch says that the records FROM up to, not including, TO
      are written: kill the process at any moment, and what was acked must be there.
      In a database each record replaces what its key holds.

      EXAMPLES
        roost fill ./db --count 1000000
        roost fill ./db --count 1000 --batch 10 --sync
        roost fill ./db --count 1000 --check    exits with 2 if one is missing or wrong
      """)

  @OptionGroup var directory: DirectoryArgument
  @Option(help: "Write (or check) records up to this one.") var count: UInt64
  @Option(help: "The first record.") var from: UInt64 = 0
  @Option(help: "Bytes of a value.") var valueBytes = 100
  @Option(help: "Records a batch.") var batch: UInt64 = 1000
  @Flag(help: "Each batch survives power loss before it is acked.") var sync = false
  @Option(help: "Makes other values.") var seed: UInt64 = 0
  @Flag(help: "Write nothing; check that each record is there with its value.") var check = false
  @Option(help: "Bytes of memtable before a flush.") var memtableBytes = StoreOptions()
    .memtableBytes
  @OptionGroup var tree: TreeOption
  @OptionGroup var keyspace: KeyspaceOption

  func validate() throws {
    if batch < 1 { throw ValidationError("--batch must be at least 1.") }
    if valueBytes < 0 { throw ValidationError("--value-bytes must not be negative.") }
    if from > count { throw ValidationError("--from must not be above --count.") }
  }

  func run() throws {
    var options = StoreOptions()
    options.memtableBytes = memtableBytes
    if try DatabaseDirectory.isDatabase(directory.directory, tree) {
      return try withDatabase(directory.directory, options: options, fill)
    }
    try withStore(directory.directory, creates: !check, options: options) { store in
      if check {
        let tree = try store.requireTree(tree.tree)
        return try checkAll { try tree.get($0) }
      }
      let tree = try store.tree(tree.tree)
      var pending = WriteBatch()
      try write { pending.put($0, $1, in: tree) } acknowledging: {
        try store.commit(pending, sync ? .synced : .applied)
        pending.removeAll()
      }
    }
  }

  private func fill(_ database: DatabaseCore) throws {
    if check {
      let keyspace = try database.keyspace(keyspace.keyspace, nil)
      return try checkAll { key in
        let values = keyspace.visible(try key.withKeyBytes { try keyspace.record($0) })
        return values.count == 1 ? values[0].value : nil
      }
    }
    let keyspace = try database.madeKeyspace(keyspace)
    try write { try keyspace.replace($0, $1) } acknowledging: { if sync { try database.syncAll() } }
  }

  private func write(
    _ put: ([UInt8], [UInt8]) throws -> Void, acknowledging: () throws -> Void
  ) throws {
    let output = Output.standard
    var records = GeneratedRecords(valueBytes: valueBytes, seed: seed)
    var next = from
    while next < count {
      let end = count - next < batch ? count : next + batch
      for index in next..<end {
        records.move(to: index)
        try put(records.key, records.value)
      }
      try acknowledging()
      try output.line("acked \(next) \(end)")
      try output.flush()
      next = end
    }
  }

  private func checkAll(_ get: ([UInt8]) throws -> [UInt8]?) throws {
    var progress = Progress()
    let problems = try Self.problems(get, from..<count, valueBytes: valueBytes, seed: seed) {
      progress.show("\(Format.count($0)) records checked")
    }
    progress.clear()
    guard !problems.isEmpty else {
      return try Output.standard.line("checked \(from) \(count): all there")
    }
    for problem in problems.prefix(20) { Complaint.line(problem) }
    throw Failure(
      .damage,
      "\(Format.count(problems.count)) of \(Format.count(count - from, "record")) are missing "
        + "or wrong"
    )
  }

  /// What is wrong with the records of a range, a line a record.
  static func problems(
    _ get: ([UInt8]) throws -> [UInt8]?, _ range: Range<UInt64>, valueBytes: Int, seed: UInt64,
    progress: (UInt64) -> Void = { _ in }
  ) throws -> [String] {
    var records = GeneratedRecords(valueBytes: valueBytes, seed: seed)
    var problems: [String] = []
    for index in range {
      records.move(to: index)
      let key = { String(decoding: records.key, as: UTF8.self) }
      switch try get(records.key) {
      case nil: problems.append("record \(index), key \(key()): missing")
      case let value? where value != records.value:
        problems.append("record \(index), key \(key()): another value")
      default: break
      }
      if index & 0xFFF == 0 { progress(index - range.lowerBound) }
    }
    return problems
  }
}

/// The records that `fill` writes. A value; moving it makes the next record in place.
///
///     key    = 16 lower-case hexadecimal digits of splitmix64(index)
///     value  = first half: splitmix64 numbers, begun from the key's number and the seed;
///              second half: the key, over and over
struct GeneratedRecords {
  private(set) var key: [UInt8] = []
  private(set) var value: [UInt8] = []
  private let valueBytes: Int
  private let seed: UInt64

  init(valueBytes: Int, seed: UInt64) {
    self.valueBytes = valueBytes
    self.seed = Self.mixed(seed)
  }

  /// splitmix64's output for the state `index`.
  static func mixed(_ index: UInt64) -> UInt64 {
    var z = index &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func move(to index: UInt64) {
    let word = Self.mixed(index)
    key.removeAll(keepingCapacity: true)
    Hexadecimal.append(word, to: &key)
    value.removeAll(keepingCapacity: true)
    var state = word ^ seed
    let random = (valueBytes + 1) / 2
    while value.count < random {
      state &+= 0x9E37_79B9_7F4A_7C15
      var bits = Self.mixed(state)
      for _ in 0..<min(8, random - value.count) {
        value.append(UInt8(truncatingIfNeeded: bits))
        bits >>= 8
      }
    }
    while value.count < valueBytes {
      value.append(contentsOf: key.prefix(valueBytes - value.count))
    }
  }
}
