import RoostCausality
import RoostCluster
import RoostTransactions

// What scripts and broken rules do to transactions' messages on their way.

/// What becomes of a message about a transaction, where a script says so.
package enum TransactionFate: Sendable {
  case arrives
  case lost
  /// It takes so much longer.
  case late(Duration)
}

extension SimulatedWorld {
  /// Says what becomes of each message about a transaction, told the numbers of the nodes that it goes from
  /// and to; `nil` for nothing special.
  package var transactionFate: (@Sendable (Envelope, _ from: Int, _ to: Int) -> TransactionFate)? {
    get { network.transactionFate }
    set { network.transactionFate = newValue }
  }

  /// By how much reads are too old where that rule is broken.
  private static let staleMilliseconds: UInt64 = 2_000

  /// A read of the past, where the rule that reads wait is broken: it need not.
  func staleRead(_ message: NodeMessage) -> NodeMessage {
    guard var read = try? RemoteRead(decoding: message.body) else { return message }
    let time = read.time.milliseconds
    read.time = Timestamp(milliseconds: time - min(time, Self.staleMilliseconds))
    return NodeMessage(kind: message.kind, body: read.encoded())
  }

  /// Where the rule is broken that an effect has one target: who does it instead of one that does not run.
  func heir(_ message: NodeMessage, from: HostProcess) -> (message: NodeMessage, process: HostProcess)? {
    guard subversion == .reroutesEffects, message.kind == NodeMessageKind.transaction,
      let remote = try? RemoteEnvelope(decoding: message.body),
      case .effect(let effect, _, _) = remote.envelope.message.body
    else { return nil }
    let others = holders(of: String(decoding: effect.key, as: UTF8.self)).filter { $0.process !== from }
    guard let host = others.first, let process = host.process, let member = host.member else { return nil }
    var envelope = remote.envelope
    envelope.to = .participant(member)
    return (Self.message(envelope, like: remote.header, of: remote.header.member), process)
  }

  /// What is answered by who should not know, where the rule is broken that nobody says "aborted" merely from
  /// seeing nothing.
  func presumed(_ message: NodeMessage, at process: HostProcess) -> NodeMessage? {
    guard subversion == .presumesAbort, message.kind == NodeMessageKind.transaction,
      let remote = try? RemoteEnvelope(decoding: message.body),
      case .inquire = remote.envelope.message.body, case .participant = remote.envelope.to,
      let member = process.host.member
    else { return nil }
    var envelope = remote.envelope
    envelope.from = remote.envelope.to
    envelope.to = remote.envelope.from
    envelope.message.body = .answer(.aborted)
    return Self.message(envelope, like: remote.header, of: member)
  }

  /// What has a store let go of what was read there once it has voted, where that rule is broken.
  func release(_ message: NodeMessage, at process: HostProcess) -> NodeMessage? {
    guard subversion == .releasesReadLocks, message.kind == NodeMessageKind.transaction,
      let remote = try? RemoteEnvelope(decoding: message.body),
      case .vote(.readOnly) = remote.envelope.message.body, let member = process.host.member
    else { return nil }
    var envelope = remote.envelope
    envelope.from = remote.envelope.to
    envelope.to = remote.envelope.from
    envelope.message.body = .abort
    return Self.message(envelope, like: remote.header, of: member)
  }

  /// What is answered to who asks for an outcome, where the rule is broken that outcomes are kept.
  func forgottenOutcome(_ message: NodeMessage) -> [UInt8]? {
    guard subversion == .forgetsOutcomes, message.kind == NodeMessageKind.transactionOutcome else {
      return nil
    }
    return NodeAnswer.encode(
      .success(
        OutcomeStanding(coordinator: .noRecord(presumesAbort: true), record: nil, isSettled: true)
          .encoded()))
  }

  private static func message(
    _ envelope: Envelope, like header: RemoteHeader, of member: MemberID
  ) -> NodeMessage {
    NodeMessage(
      kind: NodeMessageKind.transaction,
      body: RemoteEnvelope(
        envelope, database: header.database, member: member,
        clockBoundMilliseconds: header.clockBoundMilliseconds
      ).encoded())
  }
}
