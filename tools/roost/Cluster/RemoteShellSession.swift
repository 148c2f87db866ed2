import Roost
import RoostCluster
import RoostNetwork
import RoostStorage

/// The state of a shell on a cluster and its commands: those of ``ShellSession`` that are about keys, with
/// the same output. Used by one task.
final class RemoteShellSession {
  private(set) var isDone = false
  private let keys: RemoteKeys
  private let place: PlaceOptions
  private var keyspace: String
  private var bytes: BytesOptions
  private let output = Output.standard

  /// What one key is to become: `nil` where it is deleted.
  private struct Write: Sendable {
    var keyspace: String
    var key: [UInt8]
    var value: [UInt8]?
  }

  /// What `begin` gathers; `nil` where no batch is open.
  private var batch: [Write]?

  init(_ keys: RemoteKeys, _ place: PlaceOptions, keyspace: String, _ bytes: BytesOptions) {
    self.keys = keys
    self.place = place
    self.keyspace = keyspace
    self.bytes = bytes
  }

  var prompt: String { "\(keyspace)\(batch.map { " (batch of \($0.count))" } ?? "")> " }
  /// Operations gathered by `begin` and not committed.
  var pendingCount: Int { batch?.count ?? 0 }

  private static let help = """
    put KEY VALUE              store a value in place of what is there
    get KEY                    show a value; siblings, counters and the like with their dots
    delete KEY…                delete keys, one by one
    deleterange FROM TO        delete the keys from FROM up to, not including, TO, one by one
    scan [PREFIX [LIMIT]]      show keys and values that begin with PREFIX ("" for all)
    count [PREFIX]             how many there are
    begin, commit, rollback    gather writes to transactional keyspaces, then make them one
                               transaction, or forget them
    use KEYSPACE               work on another keyspace
    keyspaces                  name the keyspaces
    hex on|off                 keys and values as hexadecimal digits
    help, quit
    """

  private static let usages = [
    "put": "put KEY VALUE", "get": "get KEY", "delete": "delete KEY…", "del": "delete KEY…",
    "deleterange": "deleterange FROM TO", "scan": "scan [PREFIX [LIMIT]]", "count": "count [PREFIX]",
    "use": "use KEYSPACE", "hex": "hex on|off",
  ]

  /// Finds out whether the node answers.
  ///
  /// - Throws: ``Failure``, ``DatabaseError``.
  func check() async throws {
    _ = try await keys.client.status()
    try await place.requireQuorums(of: keyspace, keys)
  }

  /// Runs one line.
  ///
  /// - Throws: what is wrong with it; the session goes on.
  func run(_ line: [UInt8]) async throws {
    var words = try ShellSession.words(line)
    guard !words.isEmpty else { return }
    let name = String(decoding: words.removeFirst(), as: UTF8.self)
    switch (name, words.count) {
    case ("put", 2): try await put(bytes(words[0]), bytes(words[1]))
    case ("get", 1): try await get(bytes(words[0]))
    case ("delete", 1...), ("del", 1...):
      let deleted = try words.map(bytes)
      for key in deleted { try await delete(key) }
    case ("deleterange", 2): try await deleteRange(bytes(words[0]), bytes(words[1]))
    case ("scan", 0...2): try await scan(words)
    case ("count", 0...1): try await count(words)
    case ("use", 1): try await use(String(decoding: words[0], as: UTF8.self))
    case ("hex", 1): bytes.hex = words[0] == Array("on".utf8)
    case (_, 0): try await runPlain(name)
    default: throw refusal(name)
    }
  }

  /// The commands without arguments.
  private func runPlain(_ name: String) async throws {
    switch name {
    case "begin":
      if batch != nil { throw Failure.usage("a batch is open already: `commit` or `rollback`") }
      batch = []
    case "commit": try await commit()
    case "rollback": _ = try takeBatch()
    case "keyspaces":
      let names = try await keys.client.status().keyspaces.map(\.name)
      for name in names.sorted() { try output.line(name) }
    case "help", "?": try output.line(Self.help)
    case "quit", "exit": isDone = true
    default: throw refusal(name)
    }
  }

  private func refusal(_ name: String) -> Failure {
    if let usage = Self.usages[name] { return Failure.usage("usage: \(usage)") }
    switch name {
    case "begin", "commit", "rollback", "keyspaces", "help", "?", "quit", "exit":
      return Failure.usage("usage: \(name)")
    case "trees": return Failure.usage("a cluster has no trees: `keyspaces` names what it has")
    case "stats", "flush", "compact", "sync":
      return Failure.usage("`\(name)` is for the store of one node: it is not asked of a cluster")
    default: return Failure.usage("unknown command `\(name)`: `help` lists them")
    }
  }

  private func put(_ key: [UInt8], _ value: [UInt8]) async throws {
    if batch != nil { return gather(key, value) }
    try await keys.cluster.multiPut([(key: key, value: value)], in: keyspace, quorum: place.quorum)
  }

  private func delete(_ key: [UInt8]) async throws {
    if batch != nil { return gather(key, nil) }
    try await keys.cluster.delete(key, in: keyspace, quorum: place.quorum)
  }

  private func gather(_ key: [UInt8], _ value: [UInt8]?) {
    batch?.append(Write(keyspace: keyspace, key: key, value: value))
  }

  private func takeBatch() throws -> [Write] {
    guard let writes = batch else { throw Failure.usage("no batch is open: `begin` opens one") }
    batch = nil
    return writes
  }

  private func commit() async throws {
    let writes = try takeBatch()
    if writes.isEmpty { return }
    try await keys.cluster.transaction(.applied) { txn in
      for write in writes {
        if let value = write.value {
          try await txn.put(write.key, value, in: write.keyspace)
        } else {
          try await txn.delete(write.key, in: write.keyspace)
        }
      }
    }
  }

  private func deleteRange(_ from: [UInt8], _ to: [UInt8]) async throws {
    if batch != nil { throw Failure.usage("a batch takes keys one by one: `delete`") }
    var range = KeyRange.all
    range.lower = from
    range.upper = to
    try await forEachEntry(range) { entries in
      for entry in entries {
        try await keys.cluster.delete(entry.key, in: keyspace, quorum: place.quorum)
      }
    }
  }

  private func get(_ key: [UInt8]) async throws {
    let read = try await keys.cluster.get(key, in: keyspace, quorum: place.quorum)
    guard !read.isEmpty, let record = read.record else {
      throw Failure(.absent, "there is no key `\(bytes.text(key))`")
    }
    let entry = RemoteEntry(key: key, held: .record(record, visible: read.siblings))
    try output.line(entry.text(bytes))
  }

  private func scan(_ words: [[UInt8]]) async throws {
    var limit: Int?
    if words.count > 1 {
      guard let number = Int(String(decoding: words[1], as: UTF8.self)), number >= 0 else {
        throw Failure.usage("LIMIT is a number")
      }
      limit = number
    }
    try await forEachEntry(try prefix(words), limit: limit) { entries in
      for entry in entries { try output.line(bytes.text(entry.key) + "\t" + entry.text(bytes)) }
    }
  }

  private func count(_ words: [[UInt8]]) async throws {
    var count = 0
    try await forEachEntry(try prefix(words)) { count += $0.count }
    try output.line("\(count)")
  }

  private func use(_ name: String) async throws {
    try await place.requireQuorums(of: name, keys)
    keyspace = name
  }

  private func forEachEntry(
    _ range: KeyRange, limit: Int? = nil, _ body: ([RemoteEntry]) async throws -> Void
  ) async throws {
    try await place.forEachEntry(of: keys, in: keyspace, range, limit: limit, body)
  }

  private func prefix(_ words: [[UInt8]]) throws -> KeyRange {
    KeyRange(prefix: try words.first.map(bytes) ?? [])
  }

  private func bytes(_ word: [UInt8]) throws -> [UInt8] {
    try bytes.bytes(String(decoding: word, as: UTF8.self), "argument")
  }
}
