import Roost
import RoostNetwork

/// What nodes and clients over TCP go by where a test is not about their limits: a machine that is busy is no
/// fault, and no node is given up that is only slow.
enum Patience {
  /// How long a test waits for what nodes do by and by, and a client for an answer.
  static let limit = Duration.seconds(300)

  static func options(partitions: Int) -> DatabaseOptions {
    var options = DatabaseOptions()
    options.partitionCount = partitions
    options.transactions.longestDuration = .seconds(120)
    options.transactions.lockWait = .seconds(30)
    options.transactions.versionRetention = .seconds(3_600)
    return options
  }

  static var network: NetworkOptions {
    var options = NetworkOptions()
    options.handshakeTimeout = .seconds(120)
    options.silentHeartbeats = 120
    return options
  }

  static func set(_ options: inout ClusterOptions) {
    options.foundingTimeout = .seconds(600)
    options.replicaTimeout = .seconds(60)
    options.requestTimeout = .seconds(240)
  }
}

/// Asks again until it is as wished, or the time is up.
func poll(_ what: String, _ wish: () async throws -> Bool) async throws {
  let end = ContinuousClock.now + Patience.limit
  while try await !wish() {
    guard ContinuousClock.now < end else { throw DatabaseError(.deadlineExceeded, "never came: \(what)") }
    await Task.yield()
  }
}
