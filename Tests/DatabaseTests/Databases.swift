import Roost
import RoostSimulation
import Testing

/// Databases in a simulated world, small enough to be made by the thousand.
enum Databases {
  /// Stores that make do with little memory.
  static func options(
    partitions: Int = 8, replicas: Int = 1, _ change: (inout DatabaseOptions) -> Void = { _ in }
  ) -> DatabaseOptions {
    var options = DatabaseOptions()
    options.partitionCount = partitions
    options.replicas = replicas
    options.store.memtableBytes = 64 << 10
    options.store.memoryBudgetBytes = 4 << 20
    options.store.blockCacheBytes = 1 << 20
    options.store.logSegmentBytes = 64 << 10
    options.store.logLimitBytes = 256 << 10
    // A machine that is busy is no fault: where a test is not about them, these limits are out of reach.
    options.transactions.longestDuration = .seconds(600)
    options.transactions.lockWait = .seconds(60)
    options.transactions.versionRetention = .seconds(3_600)
    change(&options)
    return options
  }

  static func directories(_ count: Int) -> [String] { (0..<count).map { "/disk\($0)/db" } }

  static func open(
    _ world: SimulatedEnvironment = SimulatedEnvironment(), stores: Int = 1, partitions: Int = 8,
    replicas: Int = 1
  ) async throws -> Database {
    try await Database.open(
      at: directories(stores), options(partitions: partitions, replicas: replicas),
      environment: world.environment)
  }
}

/// The code and message of what a call throws; fails the test where it throws anything but a
/// `DatabaseError`.
func databaseError(
  sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async -> DatabaseError? {
  do {
    try await body()
    Issue.record("nothing was thrown", sourceLocation: sourceLocation)
  } catch let error as DatabaseError {
    return error
  } catch {
    Issue.record("not a DatabaseError: \(error)", sourceLocation: sourceLocation)
  }
  return nil
}

/// What a call throws, by its code.
func code(
  sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async -> DatabaseError.Code? {
  await databaseError(sourceLocation: sourceLocation, body)?.code
}
