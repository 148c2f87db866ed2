import ArgumentParser
import Roost
import RoostCluster
import RoostTransactions

/// Runs `body` with an open database, transactions included, and closes it, whatever happens.
///
/// - Parameters:
///   - directories: its stores, or one of them: the others are opened from where they are on record.
///   - creates: whether a missing one is created, with a store in each directory.
///   - transport: carries transactions' messages.
func withOpenDatabase<R>(
  _ directories: [String], creates: Bool = false, transport: any Transport = LocalTransport(),
  _ configure: (inout DatabaseOptions) -> Void = { _ in }, _ body: (Database) async throws -> R
) async throws -> R {
  var options = DatabaseOptions()
  options.creation = creates ? .createIfMissing : .mustExist
  options.opensKnownStores = true
  configure(&options)
  if !creates { for directory in directories { try DatabaseDirectory.require(directory) } }
  let database = try await Database.open(
    at: try directories.map(absolute), options, transport: transport)
  let result: R
  do { result = try await body(database) } catch {
    try? await database.close()
    throw error
  }
  try await database.close()
  return result
}

extension KeyRange {
  /// The same range of a database's keys.
  var scan: ScanRange {
    var range = ScanRange()
    range.lower = lower
    range.upper = upper
    return range
  }
}

extension Database {
  /// Whether there is such a keyspace and it is transactional.
  func isTransactional(_ option: KeyspaceOption) -> Bool {
    core.keyspaceEntries.contains { $0.name == option.keyspace && $0.kind == .transactional }
  }

  /// A keyspace, made transactional where it is missing.
  func transactionalKeyspace(_ name: String) async throws -> Keyspace {
    try await keyspace(name, .transactional)
  }
}
