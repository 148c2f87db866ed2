public import Roost
public import ServiceLifecycle

/// A database as a service of swift-service-lifecycle: a node of a cluster that drains when its group shuts
/// down.
///
/// ```swift
/// let database = try await Database.join(cluster: "music", at: "/var/lib/app", …)
/// let group = ServiceGroup(
///   services: [DatabaseService(database)], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
/// try await group.run()
/// ```
///
/// Groups end their services in the opposite order, one after the other: so a database stands before those
/// that use it.
public struct DatabaseService: Service, CustomStringConvertible {
  /// What it runs; open from the beginning, closed when ``run()`` has returned.
  public let database: Database
  /// How long a node lets what is under way go on when it is told to end: 0 to an hour.
  public let drainTimeout: Duration

  /// - Parameters:
  ///   - database: one that is open.
  ///   - drainTimeout: how long a node lets what is under way go on when it is told to end: 0 to an hour.
  public init(_ database: Database, drainTimeout: Duration = .seconds(5)) {
    self.database = database
    self.drainTimeout = drainTimeout
  }

  /// Runs until the group shuts down, the task is cancelled, or the database is closed elsewhere. A node then
  /// takes nothing new, lets what is under way end, leaves its cluster and closes its store.
  ///
  /// - Throws: ``DatabaseError`` with `.invalidArgument` (the timeout); what closing the stores throws.
  public func run() async throws {
    let (database, drainTimeout) = (database, drainTimeout)
    try await cancelWhenGracefulShutdown { try await database.run(drainingFor: drainTimeout) }
  }

  public var description: String { "DatabaseService(\(database.address ?? "no cluster"))" }
}
