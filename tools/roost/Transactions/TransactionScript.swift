import Roost
import RoostCluster
import RoostTransactions

/// An operation of `roost txn`, read from a line.
enum ScriptLine: Sendable {
  case get([UInt8], forUpdate: Bool)
  case scan([UInt8])
  case put([UInt8], [UInt8])
  case add([UInt8], Int64)
  case delete([UInt8])
  case require([UInt8], [UInt8])
  case requireAtLeast([UInt8], Int64)
  case increment(keyspace: String, [UInt8], Int64)
  case abort

  static let mostLines = 100_000

  /// The key that it writes in the script's keyspace.
  fileprivate var writtenKey: [UInt8]? {
    switch self {
    case .put(let key, _), .add(let key, _), .delete(let key): key
    default: nil
    }
  }

  /// - Throws: ``Failure`` naming the line that is not one.
  static func read(_ input: Input, _ bytes: BytesOptions) throws -> [ScriptLine] {
    var lines: [ScriptLine] = []
    var number = 0
    while let line = try input.readLine() {
      number += 1
      guard let text = String(validating: line, as: UTF8.self) else {
        throw Failure(.badInput, "line \(number) is not UTF-8")
      }
      let words: [String]
      do { words = try split(text) } catch let failure as Failure {
        throw Failure(.badInput, "line \(number): \(failure.message)")
      }
      guard let verb = words.first, !verb.hasPrefix("#") else { continue }
      guard lines.count < mostLines else {
        throw Failure(.badInput, "more than \(mostLines) operations")
      }
      do { lines.append(try parse(verb, Array(words.dropFirst()), bytes)) } catch let failure as Failure {
        throw Failure(.badInput, "line \(number): \(failure.message)")
      }
    }
    return lines
  }

  private static func parse(_ verb: String, _ words: [String], _ bytes: BytesOptions) throws -> ScriptLine {
    func key(_ text: String) throws -> [UInt8] { try bytes.bytes(text, "the key") }
    func value(_ text: String) throws -> [UInt8] { try bytes.bytes(text, "the value") }
    func integer(_ text: String) throws -> Int64 {
      guard let number = Int64(text) else { throw Failure.usage("`\(text)` is no whole number") }
      return number
    }
    switch (verb, words.count) {
    case ("get", 1): return .get(try key(words[0]), forUpdate: false)
    case ("get", 3) where words[1...] == ["for", "update"]:
      return .get(try key(words[0]), forUpdate: true)
    case ("scan", 1): return .scan(try key(words[0]))
    case ("scan", 0): return .scan([])
    case ("put", 2): return .put(try key(words[0]), try value(words[1]))
    case ("add", 2): return .add(try key(words[0]), try integer(words[1]))
    case ("delete", 1): return .delete(try key(words[0]))
    case ("require", 2): return .require(try key(words[0]), try value(words[1]))
    case ("require", 3) where words[1] == ">=":
      return .requireAtLeast(try key(words[0]), try integer(words[2]))
    case ("incr", 3): return .increment(keyspace: words[0], try key(words[1]), try integer(words[2]))
    case ("abort", 0): return .abort
    default:
      throw Failure.usage(
        "`\(([verb] + words).joined(separator: " "))` is no operation; see `roost txn --help`")
    }
  }

  /// Words parted by spaces; in double quotes a word may have spaces.
  private static func split(_ text: String) throws -> [String] {
    var words: [String] = []
    var word: String?
    var isQuoted = false
    for character in text {
      switch character {
      case "\"":
        isQuoted.toggle()
        word = word ?? ""
      case " " where !isQuoted, "\t" where !isQuoted:
        if let done = word { words.append(done) }
        word = nil
      default: word = (word ?? "") + String(character)
      }
    }
    if isQuoted { throw Failure.usage("a quote is not closed") }
    if let word { words.append(word) }
    return words
  }
}

/// The transaction that a script runs in: of a database that is open here, or of a cluster's node.
protocol ScriptTransaction: Sendable {
  var id: TransactionID { get }
  func get(_ key: [UInt8], forUpdate: Bool) async throws -> [UInt8]?
  /// Up to 1,000 entries.
  func scan(prefix: [UInt8]) async throws -> [(key: [UInt8], value: [UInt8])]
  func put(_ key: [UInt8], _ value: [UInt8]) async throws
  func delete(_ key: [UInt8]) async throws
  /// Adds to a counter of an eventual keyspace, after the commit.
  func increment(_ key: [UInt8], by amount: Int64, in keyspace: String) async throws
}

struct LocalScriptTransaction: ScriptTransaction {
  let transaction: Transaction
  let keyspace: Keyspace
  let database: Database

  var id: TransactionID { transaction.id }

  func get(_ key: [UInt8], forUpdate: Bool) async throws -> [UInt8]? {
    try await transaction.get(key, in: keyspace, forUpdate: forUpdate)
  }

  func scan(prefix: [UInt8]) async throws -> [(key: [UInt8], value: [UInt8])] {
    prefix.isEmpty
      ? try await transaction.scan(in: keyspace) : try await transaction.scan(prefix: prefix, in: keyspace)
  }

  func put(_ key: [UInt8], _ value: [UInt8]) async throws {
    try await transaction.put(key, value, in: keyspace)
  }

  func delete(_ key: [UInt8]) async throws { try await transaction.delete(key, in: keyspace) }

  func increment(_ key: [UInt8], by amount: Int64, in keyspace: String) async throws {
    try transaction.counter(key, in: try await database.keyspace(keyspace, .eventual)).increment(by: amount)
  }
}

struct RemoteScriptTransaction: ScriptTransaction {
  let transaction: ClientTransaction
  let keyspace: String

  var id: TransactionID { transaction.id }

  func get(_ key: [UInt8], forUpdate: Bool) async throws -> [UInt8]? {
    try await transaction.get(key, in: keyspace, forUpdate: forUpdate)
  }

  func scan(prefix: [UInt8]) async throws -> [(key: [UInt8], value: [UInt8])] {
    prefix.isEmpty
      ? try await transaction.scan(in: keyspace) : try await transaction.scan(prefix: prefix, in: keyspace)
  }

  func put(_ key: [UInt8], _ value: [UInt8]) async throws {
    try await transaction.put(key, value, in: keyspace)
  }

  func delete(_ key: [UInt8]) async throws { try await transaction.delete(key, in: keyspace) }

  func increment(_ key: [UInt8], by amount: Int64, in keyspace: String) async throws {
    try await transaction.increment(key, by: amount, in: keyspace)
  }
}

/// Runs the operations of `roost txn` in a transaction.
struct TransactionScript: Sendable {
  /// The script ended it.
  struct End: Error {
    var id: TransactionID
    var reason: String
    var shown: [String]
  }

  private let lines: [ScriptLine]
  private let bytes: BytesOptions
  /// What a line writes, all lines before it read for an update.
  private let written: Set<[UInt8]>

  init(_ lines: [ScriptLine], _ bytes: BytesOptions) {
    self.lines = lines
    self.bytes = bytes
    written = Set(lines.compactMap(\.writtenKey))
  }

  /// - Returns: what the reads show.
  func run(_ txn: some ScriptTransaction) async throws -> [String] {
    var shown: [String] = []
    func end(_ reason: String) -> End { End(id: txn.id, reason: reason, shown: shown) }
    for line in lines {
      switch line {
      case .get(let key, let forUpdate):
        let value = try await read(txn, key, forUpdate: forUpdate)
        shown.append("\(bytes.text(key))\t\(value.map(bytes.text) ?? "absent")")
      case .scan(let prefix):
        for entry in try await txn.scan(prefix: prefix) {
          shown.append("\(bytes.text(entry.key))\t\(bytes.text(entry.value))")
        }
      case .put(let key, let value): try await txn.put(key, value)
      case .add(let key, let amount):
        let old = try await number(txn, key)
        let (sum, overflow) = old.addingReportingOverflow(amount)
        if overflow { throw end("the number under `\(bytes.text(key))` overflows") }
        try await txn.put(key, Array("\(sum)".utf8))
      case .delete(let key): try await txn.delete(key)
      case .require(let key, let value):
        guard try await read(txn, key) == value else {
          throw end("`\(bytes.text(key))` is not `\(bytes.text(value))`")
        }
      case .requireAtLeast(let key, let least):
        let found = try await number(txn, key)
        guard found >= least else { throw end("`\(bytes.text(key))` is \(found), less than \(least)") }
      case .increment(let name, let key, let amount):
        try await txn.increment(key, by: amount, in: name)
      case .abort: throw end("asked for")
      }
    }
    return shown
  }

  private func read(
    _ txn: some ScriptTransaction, _ key: [UInt8], forUpdate: Bool = false
  ) async throws -> [UInt8]? {
    try await txn.get(key, forUpdate: forUpdate || written.contains(key))
  }

  /// The decimal number under a key; 0 where it is absent.
  private func number(_ txn: some ScriptTransaction, _ key: [UInt8]) async throws -> Int64 {
    guard let value = try await read(txn, key) else { return 0 }
    guard let number = Int64(String(decoding: value, as: UTF8.self)) else {
      throw Failure(.badInput, "the value of `\(bytes.text(key))` is no whole number")
    }
    return number
  }
}
