import ArgumentParser
import Glibc
import Roost
import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostStorage
import RoostTransactions

/// How a command that takes a directory tells a database's store from a plain one, and opens the
/// whole database from the one directory that was named.
enum DatabaseDirectory {
  /// Whether the directory is a store of a database. A missing or an empty one is not.
  static func isDatabase(_ directory: String) throws -> Bool {
    let trees = try StoreInspection.trees(in: directory, Environment.posix().fileSystem)
    return trees?.values.contains(Member.systemTree) ?? false
  }

  /// The same for a command that writes to a tree or a keyspace: fails where a tree of a database is named.
  static func isDatabase(_ directory: String, _ tree: TreeOption) throws -> Bool {
    guard try isDatabase(directory) else { return false }
    if tree.tree != "default" {
      try requirePlain(directory, instead: "--keyspace names a keyspace, in place of --tree")
    }
    return true
  }

  /// Fails where the directory is a database's: whoever wrote into its trees past it would leave
  /// records without their dots, and replicas apart.
  ///
  /// - Parameter instead: what to do in its place.
  static func requirePlain(_ directory: String, instead: String) throws {
    guard try isDatabase(directory) else { return }
    throw Failure(
      .usage, "\(directory) is a store of a database: this command is for plain stores only; \(instead)")
  }

  /// Fails unless the directory is a database's.
  static func require(_ directory: String) throws {
    if try isDatabase(directory) { return }
    throw Failure(
      .notFound, "\(directory) is no store of a database; `roost create` makes one")
  }
}

/// The keyspace worked on.
struct KeyspaceOption: ParsableArguments {
  @Option(name: [.customLong("keyspace"), .customShort("k")], help: "The keyspace to work on, in a database.")
  var keyspace = "default"
}

/// Runs `body` with an open database and closes it, whatever happens.
///
/// - Parameters:
///   - directory: of any of its stores; the others are opened from where they are on record.
///   - creates: whether a missing one is created, with this one store.
func withDatabase<R>(
  _ directory: String, creates: Bool = false, options: StoreOptions = StoreOptions(),
  _ body: (DatabaseCore) throws -> R
) throws -> R {
  let storeOptions = options
  if try !DatabaseDirectory.isDatabase(directory) {
    let info = try StoreInspection.trees(in: directory, Environment.posix().fileSystem)
    if info != nil || !creates { try DatabaseDirectory.require(directory) }
  }
  var options = DatabaseOptions()
  options.creation = creates ? .createIfMissing : .mustExist
  options.opensKnownStores = true
  options.store = storeOptions
  return try withDatabase(DatabaseOpening.open([try absolute(directory)], options, .posix()), body)
}

func withDatabase<R>(_ database: DatabaseCore, _ body: (DatabaseCore) throws -> R) throws -> R {
  let result: R
  var transactions: TransactionManager?
  do {
    // Partitions of transactional keyspaces move with their help only.
    if database.mayHaveTransactions { transactions = try TransactionManager(database) }
    result = try body(database)
  } catch {
    try? transactions?.close()
    try? database.close()
    throw error
  }
  do throws(DatabaseError) { try transactions?.close() } catch {
    try? database.close()
    throw error
  }
  try database.close()
  return result
}

/// The path from the root: a database keeps its stores' paths, which must lead to them from anywhere.
func absolute(_ path: String) throws -> String {
  if path.hasPrefix("/") { return path }
  guard let here = currentDirectory() else {
    throw Failure(.io, "the current directory has gone: name \(path) from the root")
  }
  return here + "/" + path
}

extension DatabaseCore {
  /// A keyspace that is created with the default policy where it is missing.
  func madeKeyspace(_ option: KeyspaceOption) throws -> KeyspaceCore {
    try keyspaceEntries.contains { $0.name == option.keyspace }
      ? keyspace(option.keyspace, nil) : keyspace(option.keyspace, .eventual)
  }
}

extension Failure {
  init(_ error: DatabaseError) {
    let status: ExitStatus =
      switch error.code {
      case .invalidArgument, .invalidOption, .invalidMembers, .wrongPolicy, .wrongKind, .foreignContext,
        .foreignToken, .damagedToken, .tooManyReplicas, .counterOverflow, .transactionTooLarge:
        .usage
      case .unknownKeyspace, .unknownIndex, .notAMember, .foreignStore, .missingStore: .notFound
      case .corruption: .damage
      case .newerFormat: .newerFormat
      case .unreachable, .behindSession: .unavailable
      case .indeterminate, .outcomeUnknown, .operationExpired: .uncertain
      case .conditionFailed, .busy, .deadlineExceeded, .indexNotReady: .busy
      case .storage:
        if let cause = error.cause { Failure(cause).status } else { .software }
      default: .software
      }
    if let cause = error.cause, cause.code == .locked {
      self = Failure(cause)
    } else {
      var text = error.message
      if error.code == .corruption { text = "damaged: " + text }
      if let file = error.cause?.file, !text.contains(file) { text += " (\(file))" }
      self.init(status, text)
    }
  }
}

/// The process's current directory; `nil` where it was removed.
private func currentDirectory() -> String? {
  guard let path = unsafe getcwd(nil, 0) else { return nil }
  defer { unsafe free(path) }
  return unsafe String(validatingCString: path)
}
