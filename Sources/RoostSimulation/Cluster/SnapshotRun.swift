import RoostCausality
import RoostCluster
import RoostTransactions

/// A read of keys as of now at a node, across all stores, by events. Used by one thread.
final class SnapshotRun: @unchecked Sendable {
  struct Found: Sendable {
    var time: Timestamp
    /// Absent keys have none.
    var values: [String: String]
  }

  /// What the stores have answered.
  private final class Gathering: @unchecked Sendable {
    var values: [String: String] = [:]
    var left: Int
    /// Keeps the versions.
    let hold: SnapshotHold

    init(_ left: Int, _ hold: SnapshotHold) {
      self.left = left
      self.hold = hold
    }
  }

  /// Begins one, and notes it in the history.
  ///
  /// - Parameters:
  ///   - lists: keys whose values are lists, as the history has it.
  ///   - done: called once.
  static func begin(
    _ keys: [String], lists: Set<String> = [], at host: SimulatedHost, client: Int,
    _ done: @escaping TransactionReply<Found>
  ) {
    let world = host.world
    world.hasTransactions = true
    let number = world.history.beginTransaction(
      node: host.index, isSnapshot: true, client: client, at: world.nanoseconds)
    let noted: TransactionReply<Found> = { result in
      switch result {
      case .success(let found):
        world.history.note(number) { noted in
          noted.operations = keys.map { key in
            RecordedTransaction.Operation(
              kind: .read, key: key, value: found.values[key], isList: lists.contains(key))
          }
        }
        world.history.endTransaction(number, .committed(found.time), at: world.nanoseconds)
      case .failure(let failure):
        world.history.endTransaction(number, .aborted(failure.text), at: world.nanoseconds)
      }
      done(result)
    }
    guard let process = host.process else {
      return noted(.failure(.failed(DatabaseError(.unreachable, "the node does not run"))))
    }
    process.ask(noted) { process, reply in try read(keys, at: process, reply) }
  }

  private static func read(
    _ keys: [String], at process: HostProcess, _ reply: @escaping TransactionReply<Found>
  ) throws {
    let manager = try process.manager()
    let time = try manager.moment(nil)
    var parts: [MemberID: [KeyReference]] = [:]
    for key in keys {
      let target = try process.reference(key)
      parts[try manager.owner(of: target.partition), default: []].append(target)
    }
    let gathering = Gathering(parts.count, manager.hold(time))
    if parts.isEmpty { return reply(.success(Found(time: time, values: [:]))) }
    for (member, targets) in parts.sorted(by: { $0.key < $1.key }) {
      manager.snapshot(.keys(targets), at: time, of: member) { result in
        switch result {
        case .success(let answer):
          for entry in answer.entries {
            let key = String(decoding: entry.target.key, as: UTF8.self)
            gathering.values[key] = String(decoding: entry.value, as: UTF8.self)
          }
          gathering.left -= 1
          // Who has answered a failure before is not asked again: a second answer is not heard.
          if gathering.left == 0 { reply(.success(Found(time: time, values: gathering.values))) }
        case .failure(let error): reply(.failure(.failed(error)))
        }
      }
    }
  }
}
