import RoostStorage

/// The state of a shell and its commands. Used by one thread.
final class ShellSession {
  private(set) var isDone = false
  private let store: Store
  private var treeName: String
  private var bytes: BytesOptions
  private let output = Output.standard

  private var isBatching = false
  private var batch = WriteBatch()

  init(_ store: Store, tree: String, _ bytes: BytesOptions) {
    self.store = store
    self.bytes = bytes
    treeName = tree
  }

  var prompt: String { "\(treeName)\(isBatching ? " (batch of \(batch.count))" : "")> " }
  /// Operations gathered by `begin` and not committed.
  var pendingCount: Int { isBatching ? batch.count : 0 }

  private static let help = """
    put KEY VALUE              store a value
    get KEY                    show a value
    delete KEY…                delete keys
    deleterange FROM TO        delete the keys from FROM up to, not including, TO
    scan [PREFIX [LIMIT]]      show keys and values that begin with PREFIX ("" for all)
    count [PREFIX]             how many there are
    begin, commit, rollback    gather writes, then write them together, or forget them
    use TREE                   work on another tree, created by the first write
    trees                      name the trees
    stats                      levels, log, cache, stalls
    flush, compact, sync       write memtables to tables; merge tables; make all durable
    hex on|off                 keys and values as hexadecimal digits
    help, quit
    """

  /// Runs one line.
  ///
  /// - Throws: what is wrong with it; the session goes on.
  func run(_ line: [UInt8]) throws {
    var words = try Self.words(line)
    guard !words.isEmpty else { return }
    let name = String(decoding: words.removeFirst(), as: UTF8.self)
    func check(_ counts: ClosedRange<Int>, _ usage: String) throws {
      if !counts.contains(words.count) { throw Failure.usage("usage: \(usage)") }
    }
    switch name {
    case "put":
      try check(2...2, "put KEY VALUE")
      try write { try $0.put(bytes(words[0]), bytes(words[1]), in: $1) }
    case "get":
      try check(1...1, "get KEY")
      try get(bytes(words[0]))
    case "delete", "del":
      try check(1...Int.max, "delete KEY…")
      try write { batch, tree in for word in words { try batch.delete(bytes(word), in: tree) } }
    case "deleterange":
      try check(2...2, "deleterange FROM TO")
      try write { try $0.deleteRange(from: bytes(words[0]), to: bytes(words[1]), in: $1) }
    case "scan":
      try check(0...2, "scan [PREFIX [LIMIT]]")
      try scan(words)
    case "count":
      try check(0...1, "count [PREFIX]")
      var cursor = try requireTree().cursor(KeyRange(prefix: words.first.map(bytes) ?? []), nil)
      var count = 0
      while try cursor.next() { count += 1 }
      try output.line("\(count)")
    case "use":
      try check(1...1, "use TREE")
      treeName = String(decoding: words[0], as: UTF8.self)
    case "hex":
      try check(1...1, "hex on|off")
      bytes.hex = words[0] == Array("on".utf8)
    default:
      try check(0...0, name)
      try runPlain(name)
    }
  }

  /// The commands without arguments.
  private func runPlain(_ name: String) throws {
    switch name {
    case "begin":
      if isBatching { throw Failure.usage("a batch is open already: `commit` or `rollback`") }
      isBatching = true
    case "commit":
      if !isBatching { throw Failure.usage("no batch is open: `begin` opens one") }
      defer { endBatch() }
      try store.commit(batch)
    case "rollback":
      if !isBatching { throw Failure.usage("no batch is open: `begin` opens one") }
      endBatch()
    case "trees": for name in store.treeNames { try output.line(name) }
    case "stats": for line in StatsPicture.lines(store.statistics) { try output.line(line) }
    case "flush": try store.flush()
    case "compact": try store.compact()
    case "sync": try store.sync()
    case "help", "?": try output.line(Self.help)
    case "quit", "exit": isDone = true
    default: throw Failure.usage("unknown command `\(name)`: `help` lists them")
    }
  }

  private func endBatch() {
    isBatching = false
    batch.removeAll()
  }

  /// Into the open batch, or at once.
  private func write(_ body: (inout WriteBatch, Tree) throws -> Void) throws {
    let tree = try store.tree(treeName)
    if !isBatching { return try store.write { try body(&$0, tree) } }
    try body(&batch, tree)
  }

  private func get(_ key: [UInt8]) throws {
    guard let value = try requireTree().get(key) else {
      throw Failure(.absent, "there is no key `\(bytes.text(key))`")
    }
    try output.line(bytes.text(value))
  }

  private func scan(_ words: [[UInt8]]) throws {
    var limit = Int.max
    if words.count > 1 {
      guard let number = Int(String(decoding: words[1], as: UTF8.self)), number >= 0 else {
        throw Failure.usage("LIMIT is a number")
      }
      limit = number
    }
    var cursor = try requireTree().cursor(KeyRange(prefix: words.first.map(bytes) ?? []), nil)
    while limit > 0, try cursor.next() {
      limit -= 1
      bytes.append(cursor.key, to: &output.buffer)
      output.buffer.append(UInt8(ascii: "\t"))
      bytes.append(cursor.value, to: &output.buffer)
      try output.line()
    }
  }

  private func requireTree() throws -> Tree { try store.requireTree(treeName) }

  private func bytes(_ word: [UInt8]) throws -> [UInt8] {
    try bytes.bytes(String(decoding: word, as: UTF8.self), "argument")
  }

  /// Splits a line at spaces outside double quotes.
  static func words(_ line: [UInt8]) throws -> [[UInt8]] {
    var words: [[UInt8]] = []
    var word: [UInt8]?
    var isQuoted = false
    for byte in line {
      switch byte {
      case UInt8(ascii: "\""):
        isQuoted.toggle()
        word = word ?? []
      case UInt8(ascii: " ") where !isQuoted, UInt8(ascii: "\t") where !isQuoted,
        UInt8(ascii: "\r") where !isQuoted:
        if let done = word { words.append(done) }
        word = nil
      default: word = (word ?? []) + [byte]
      }
    }
    if isQuoted { throw Failure.usage("a quote is not closed") }
    if let word { words.append(word) }
    guard words.allSatisfy({ String(validating: $0, as: UTF8.self) != nil }) else {
      throw Failure.usage("not valid UTF-8: write other bytes as \\xHH, or use `hex on`")
    }
    return words
  }
}
