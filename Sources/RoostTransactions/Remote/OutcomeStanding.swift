package import RoostCausality
package import RoostCluster

/// What one node knows of a transaction. All nodes' together tell what became of it.
package struct OutcomeStanding: Hashable, Sendable {
  package enum Coordinator: Hashable, Sendable {
    /// It is not on this node.
    case elsewhere
    case undecided
    case committed(Timestamp)
    case aborted
    /// No record; where it presumes abort, none will come to be by two-phase commit.
    case noRecord(presumesAbort: Bool)
    /// Too old: records of that time may be gone.
    case expired
  }

  package var coordinator: Coordinator
  /// What the node's store has on record.
  package var record: Outcome?
  /// Whether nothing is under way or prepared for it in the node's store, and nothing new would be taken: it
  /// is too old. Looked at before the record was.
  package var isSettled: Bool

  package init(coordinator: Coordinator, record: Outcome?, isSettled: Bool) {
    self.coordinator = coordinator
    self.record = record
    self.isSettled = isSettled
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: RemoteHeader.version)
    switch coordinator {
    case .elsewhere: writer.write(byte: 0)
    case .undecided: writer.write(byte: 1)
    case .committed(let timestamp):
      writer.write(byte: 2)
      writer.write(fixed: timestamp.rawValue)
    case .aborted: writer.write(byte: 3)
    case .noRecord(let presumesAbort): writer.write(byte: presumesAbort ? 4 : 5)
    case .expired: writer.write(byte: 6)
    }
    switch record {
    case nil: writer.write(byte: 0)
    case .committed(let timestamp):
      writer.write(byte: 1)
      writer.write(fixed: timestamp.rawValue)
    case .aborted: writer.write(byte: 2)
    }
    writer.write(byte: isSettled ? 1 : 0)
    return writer.bytes
  }

  /// - Throws: `.corruption`, `.newerFormat`.
  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "what a node knows of a transaction")
    _ = try reader.readVersion(upTo: RemoteHeader.version)
    switch try reader.readByte() {
    case 0: coordinator = .elsewhere
    case 1: coordinator = .undecided
    case 2: coordinator = .committed(try reader.readTimestamp())
    case 3: coordinator = .aborted
    case 4: coordinator = .noRecord(presumesAbort: true)
    case 5: coordinator = .noRecord(presumesAbort: false)
    case 6: coordinator = .expired
    case let other: throw reader.damaged("a coordinator of kind \(other)")
    }
    switch try reader.readByte() {
    case 0: record = nil
    case 1: record = .committed(try reader.readTimestamp())
    case 2: record = .aborted
    case let other: throw reader.damaged("a record of kind \(other)")
    }
    isSettled = try reader.readFlag()
    try reader.readEnd()
  }

  /// What became of a transaction, by what nodes know.
  ///
  /// A record decides, wherever it is. From the absence of one "aborted" follows only where the coordinator
  /// has none and will make none, *and* no store can make one any more: what it sent before it was started
  /// again, to commit at once, may still be on its way.
  ///
  /// - Parameter missing: how many nodes have not answered.
  package static func joined(_ standings: [OutcomeStanding], missing: Int) -> KnownOutcome {
    var isAborted = false
    for standing in standings {
      if case .committed(let timestamp) = standing.coordinator { return .committed(timestamp) }
      if case .committed(let timestamp) = standing.record { return .committed(timestamp) }
      if standing.coordinator == .aborted || standing.record == .aborted { isAborted = true }
    }
    if isAborted { return .aborted(.recorded) }
    guard missing == 0, standings.allSatisfy(\.isSettled),
      !standings.contains(where: { $0.coordinator == .undecided })
    else { return .undecided }
    let isAbsent = standings.contains { $0.coordinator == .noRecord(presumesAbort: true) }
    let isOld = standings.contains { $0.coordinator == .expired }
    return isAbsent && !isOld ? .aborted(.recorded) : .expired
  }
}
