import ArgumentParser
import RoostCluster
import RoostEnvironment
import RoostStorage

/// How keys and values are written on the command line and shown.
struct BytesOptions: ParsableArguments {
  @Flag(help: "Keys and values are hexadecimal digits, in and out.")
  var hex = false

  /// As a command line without options gives them.
  static let plain: BytesOptions = {
    // Set, because a property of arguments that were never parsed cannot be read.
    var options = BytesOptions()
    options.hex = false
    return options
  }()

  /// The bytes that an argument stands for.
  ///
  /// - Throws: ``Failure`` with what is wrong.
  func bytes(_ text: String, _ what: String) throws -> [UInt8] {
    if hex {
      guard let bytes = Hexadecimal.bytes(text.utf8) else {
        throw Failure.usage("\(what) `\(text)` is not an even number of hexadecimal digits")
      }
      return bytes
    }
    do throws(TextEscape.Problem) { return try TextEscape.bytes(text.utf8) } catch {
      throw Failure.usage("\(what) `\(text)`: \(error)")
    }
  }

  func bytes(_ text: String?, _ what: String) throws -> [UInt8]? {
    guard let text else { return nil }
    let bytes: [UInt8] = try bytes(text, what)
    return bytes
  }

  func append(_ bytes: RawSpan, to output: inout [UInt8]) {
    if hex { Hexadecimal.append(bytes, to: &output) } else { TextEscape.append(bytes, to: &output) }
  }

  func text(_ bytes: [UInt8]) -> String { hex ? Hexadecimal.text(bytes) : TextEscape.text(bytes) }

  static let help = """
    Keys and values are text. Other bytes are escaped, and are shown in the same
    form: \\\\ backslash, \\n newline, \\t tab, \\r carriage return, \\xHH any byte.
    """
}

/// The store's directory.
struct DirectoryArgument: ParsableArguments {
  @Argument(help: "The store's directory.", completion: .directory)
  var directory: String
}

/// The tree worked on.
struct TreeOption: ParsableArguments {
  @Option(help: "The tree to work on.")
  var tree = "default"

  /// Fails where one was named: a cluster has keyspaces.
  func requireNone() throws {
    if tree != "default" { throw Failure.usage("a cluster has no trees: name a keyspace with --keyspace") }
  }
}

/// A range of keys.
struct RangeOptions: ParsableArguments {
  @Option(help: "Only keys that begin with this.")
  var prefix: String?
  @Option(help: "Only keys from this one on.")
  var from: String?
  @Option(help: "Only keys before this one.")
  var to: String?

  func range(_ bytes: BytesOptions) throws -> KeyRange {
    var range = try bytes.bytes(prefix, "--prefix").map(KeyRange.init(prefix:)) ?? .all
    if let from = try bytes.bytes(from, "--from") {
      if range.lower.map({ $0.lexicographicallyPrecedes(from) }) ?? true { range.lower = from }
    }
    if let to = try bytes.bytes(to, "--to") {
      if range.upper.map({ to.lexicographicallyPrecedes($0) }) ?? true { range.upper = to }
    }
    return range
  }
}

/// Runs `body` with an open store and closes it, whatever happens.
///
/// - Parameter creates: whether a missing store is created.
/// - Throws: what opening, `body` and closing throw, the first of them.
func withStore<R>(
  _ directory: String, creates: Bool = false, options: StoreOptions = StoreOptions(),
  _ body: (Store) throws -> R
) throws -> R {
  var options = options
  options.creation = creates ? .createIfMissing : .mustExist
  let environment = Environment.posix()
  let marker = try Store.markerInfo(in: directory, environment.fileSystem)
  let store = try Store.open(at: directory, options, environment: environment)
  // A look at a database's store is no kill of it.
  func keepCleanClose() {
    DatabaseOpening.keepCleanClose(of: store, at: directory, marker: marker, environment)
  }
  let result: R
  do { result = try body(store) } catch {
    keepCleanClose()
    try? store.close()
    throw error
  }
  keepCleanClose()
  try store.close()
  return result
}

extension Store {
  /// A tree that must be there.
  func requireTree(_ name: String) throws -> Tree {
    if let tree = existingTree(name) { return tree }
    let names = treeNames
    let others =
      names.isEmpty
      ? "the store has no trees"
      : "the store has " + names.map { "`\($0)`" }.joined(separator: ", ")
    throw Failure(.notFound, "there is no tree `\(name)`: \(others)")
  }
}
