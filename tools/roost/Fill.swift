import ArgumentParser
import Roost
import RoostCluster
import RoostStorage

/// `roost fill`: writes generated records, and tells of each batch once it is acknowledged.
struct Fill: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write generated records, or check that they are there.",
    usage: PlaceOptions.usage("fill", "--count <count>"),
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

      Of a cluster it asks a node, several keys at a time; keyspaces are made before:
        roost fill --connect 127.0.0.1:7421 --cluster music --plain --count 100000
        roost fill --connect 127.0.0.1:7422 --cluster music --plain --count 100000 --check
      """)

  @Argument(help: "The store's directory; left out with --connect.", completion: .directory)
  var directory: String?
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
  @OptionGroup(title: "Clusters") var place: PlaceOptions

  func validate() throws {
    _ = try place.split(directory)
    try place.requireNoSession()
    if place.isRemote, memtableBytes != StoreOptions().memtableBytes {
      throw ValidationError("--memtable-bytes is of a store: with --connect none is opened here.")
    }
    if batch < 1 { throw ValidationError("--batch must be at least 1.") }
    if valueBytes < 0 { throw ValidationError("--value-bytes must not be negative.") }
    if from > count { throw ValidationError("--from must not be above --count.") }
  }

  func run() async throws {
    guard let directory = try place.split(directory) else { return try await fillCluster() }
    var options = StoreOptions()
    options.memtableBytes = memtableBytes
    if try DatabaseDirectory.isDatabase(directory, tree) {
      return try withDatabase(directory, options: options, fill)
    }
    try withStore(directory, creates: !check, options: options) { store in
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
    var records = GeneratedRecords(valueBytes: valueBytes, seed: seed)
    var next = from
    while next < count {
      let range = part(from: next, batch)
      for index in range {
        records.move(to: index)
        try put(records.key, records.value)
      }
      try acknowledging()
      try acknowledge(range)
      next = range.upperBound
    }
  }

  /// The next records from one on: at most so many.
  private func part(from next: UInt64, to end: UInt64? = nil, _ most: UInt64) -> Range<UInt64> {
    let end = end ?? count
    return next..<(end - next < most ? end : next + most)
  }

  private func acknowledge(_ range: Range<UInt64>) throws {
    try Output.standard.line("acked \(range.lowerBound) \(range.upperBound)")
    try Output.standard.flush()
  }

  private func checkAll(_ get: ([UInt8]) throws -> [UInt8]?) throws {
    var progress = Progress()
    let problems = try Self.problems(get, from..<count, valueBytes: valueBytes, seed: seed) {
      progress.show("\(Format.count($0)) records checked")
    }
    progress.clear()
    try report(problems)
  }

  private func report(_ problems: [String]) throws {
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
      if let problem = records.problem(of: index, try get(records.key)) { problems.append(problem) }
      if index & 0xFFF == 0 { progress(index - range.lowerBound) }
    }
    return problems
  }
}

extension Fill {
  /// Writes or checks in a cluster: part by part, each of which is in memory as a whole.
  private func fillCluster() async throws {
    try tree.requireNone()
    let most = UInt64(max(1, min(1_000, (4 << 20) / max(valueBytes, 1))))
    try await place.withKeys { keys in
      try await place.requireQuorums(of: keyspace.keyspace, keys)
      if check { return try await checkAll(in: keys.cluster, most) }
      var records = GeneratedRecords(valueBytes: valueBytes, seed: seed)
      var next = from
      while next < count {
        let whole = part(from: next, batch)
        while next < whole.upperBound {
          let range = part(from: next, to: whole.upperBound, most)
          try await keys.cluster.multiPut(
            records.entries(range), in: keyspace.keyspace, quorum: place.quorum, sync ? .synced : .applied)
          next = range.upperBound
        }
        try acknowledge(whole)
      }
    }
  }

  private func checkAll(in cluster: ClusterClient, _ most: UInt64) async throws {
    var progress = Progress()
    var records = GeneratedRecords(valueBytes: valueBytes, seed: seed)
    var problems: [String] = []
    var next = from
    while next < count {
      let range = part(from: next, most)
      let keys = records.entries(range).map(\.key)
      let reads = try await cluster.multiGet(keys, in: keyspace.keyspace, quorum: place.quorum)
      for (index, read) in zip(range, reads) {
        records.move(to: index)
        if let problem = records.problem(of: index, read.value) { problems.append(problem) }
      }
      next = range.upperBound
      progress.show("\(Format.count(next - from)) records checked")
    }
    progress.clear()
    try report(problems)
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

  /// The records of a range.
  mutating func entries(_ range: Range<UInt64>) -> [(key: [UInt8], value: [UInt8])] {
    range.map { index in
      move(to: index)
      return (key, value)
    }
  }

  /// What is wrong with a value that was found for the record it is at, in a line; `nil` for nothing.
  func problem(of index: UInt64, _ found: [UInt8]?) -> String? {
    if found == value { return nil }
    let key = String(decoding: key, as: UTF8.self)
    return "record \(index), key \(key): \(found == nil ? "missing" : "another value")"
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
