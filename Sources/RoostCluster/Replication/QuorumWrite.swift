// How a write of an eventual key is replicated (Dynamo: DeCandia et al., SOSP 2007, 4.5 and 4.6), by the
// replica that coordinates it:
//
// 1. The coordinator has written the key's new state to its own store. That is the first
//    acknowledgement.
// 2. The state goes to all other replicas of the partition at once, and to stores that the partition is
//    moving to (pending ones). Those are no replicas yet: they get everything, and count for nothing.
// 3. Where a replica fails, or is known to be down from the beginning, the state goes to the next store
//    behind the preference list, as a hint: it keeps it until it could hand it over. A hint counts where
//    the quorum may be sloppy, as its own host's: a hint on a host that acknowledged already adds
//    nothing.
// 4. The caller is answered once enough have acknowledged, or at the deadline, or when what is left
//    cannot be enough. By then the write is somewhere for good, so a failure is `indeterminate`: the
//    state may still spread, by read repair and anti-entropy, and doing the write again is another write.
// 5. After the answer the rest goes on: acknowledgements, and hints for those that fail, come in until the
//    deadline.

/// One write of an eventual key, replicated. A value that decides; whoever drives it sends, stores hints
/// and keeps the time.
///
/// - It answers once, and no later than the deadline.
/// - `written` only with a quorum of acknowledgements.
/// - No store gets the state twice, and no replica has two hints under way.
public struct QuorumWrite: Sendable {
  public enum Event: Sendable, Equatable {
    /// A replica or a pending store has the state on its disk.
    case acknowledged(MemberID)
    /// It has not, or is not to be reached.
    case failed(MemberID)
    /// A fallback keeps the state for a replica.
    case hinted(for: MemberID)
    case hintFailed(for: MemberID)
    case deadline
  }

  public enum Effect: Sendable, Equatable {
    case send(to: MemberID)
    /// `at` is to keep the state until it can hand it to `for`.
    case hint(at: MemberID, for: MemberID)
    case answer(Answer)
    /// A store that the partition is moving to has missed the state: the move must not complete without
    /// copying it again.
    case pendingMissed(MemberID)
    /// A replica has missed the state, and no hint is kept for it: anti-entropy will have to find out.
    case missed(MemberID)
  }

  public enum Answer: Sendable, Equatable {
    case written
    /// Fewer have acknowledged than asked for: so many, counted as the quorum counts.
    case indeterminate(acknowledged: Int)
  }

  private enum State: Equatable {
    case sent
    case acknowledged
    /// A hint for it is under way to a fallback.
    case hinting(QuorumTarget)
    case hinted(QuorumTarget)
    case missed
  }

  private let quorum: QuorumSize
  private let isSloppy: Bool
  private let replicas: [QuorumTarget]
  private var states: [State]
  private var pending: Set<MemberID>
  private var fallbacks: [QuorumTarget]
  private var isAnswered = false
  private var isOver = false

  /// - Parameters:
  ///   - coordinator: the replica that has the state already.
  ///   - replicas: all of the partition, the coordinator among them, in order of preference. No two are
  ///     one member.
  ///   - pending: stores that the partition is moving to.
  ///   - fallbacks: stores that may keep hints, in order of preference; those that are replicas or pending
  ///     are passed over.
  ///   - down: replicas that are not even tried.
  ///   - quorum: how many must have it.
  ///   - isSloppy: whether hints count.
  /// - Returns: with the effects to begin with.
  public static func begin(
    coordinator: MemberID, replicas: [QuorumTarget], pending: [MemberID] = [],
    fallbacks: [QuorumTarget] = [], down: Set<MemberID> = [], quorum: QuorumSize, isSloppy: Bool
  ) -> (QuorumWrite, [Effect]) {
    var write = QuorumWrite(coordinator, replicas, pending, fallbacks, quorum, isSloppy)
    var effects: [Effect] = []
    for (index, replica) in replicas.enumerated() where write.states[index] == .sent {
      if down.contains(replica.member) {
        write.fallBack(index, &effects)
      } else {
        effects.append(.send(to: replica.member))
      }
    }
    for member in pending.sorted() where write.pending.contains(member) {
      effects.append(.send(to: member))
    }
    write.decide(&effects)
    return (write, effects)
  }

  private init(
    _ coordinator: MemberID, _ replicas: [QuorumTarget], _ pending: [MemberID],
    _ fallbacks: [QuorumTarget], _ quorum: QuorumSize, _ isSloppy: Bool
  ) {
    let members = Set(replicas.map(\.member))
    self.quorum = quorum
    self.isSloppy = isSloppy
    self.replicas = replicas
    states = replicas.map { $0.member == coordinator ? .acknowledged : .sent }
    self.pending = Set(pending).subtracting(members)
    // The first is taken first.
    self.fallbacks = fallbacks.filter { !members.contains($0.member) && !pending.contains($0.member) }
      .reversed()
  }

  /// Takes in what happened. Events that come twice, late, or of strangers change nothing.
  public mutating func receive(_ event: Event) -> [Effect] {
    if isOver { return [] }
    var effects: [Effect] = []
    switch event {
    case .acknowledged(let member):
      pending.remove(member)
      // One that was given up may have it after all: that is as good as a hint for it, and better.
      if let index = index(of: member) { states[index] = .acknowledged }
    case .failed(let member):
      if pending.remove(member) != nil { effects.append(.pendingMissed(member)) }
      if let index = index(of: member), states[index] == .sent { fallBack(index, &effects) }
    case .hinted(let member):
      if let index = index(of: member), case .hinting(let fallback) = states[index] {
        states[index] = .hinted(fallback)
      }
    case .hintFailed(let member):
      if let index = index(of: member), case .hinting = states[index] { fallBack(index, &effects) }
    case .deadline:
      for member in pending.sorted() { effects.append(.pendingMissed(member)) }
      pending = []
      for index in replicas.indices {
        switch states[index] {
        case .sent, .hinting:
          states[index] = .missed
          effects.append(.missed(replicas[index].member))
        case .acknowledged, .hinted, .missed: break
        }
      }
    }
    decide(&effects)
    return effects
  }

  /// Whether nothing more is to come.
  public var isFinished: Bool { isOver }

  /// Whether there is yet another store to keep a hint.
  var hasFallbacks: Bool { !fallbacks.isEmpty }

  /// What has come in, as the quorum counts.
  public var strength: Int { quorum.strength(of: counted(possible: false)) }

  private func index(of member: MemberID) -> Int? {
    replicas.firstIndex { $0.member == member }
  }

  /// Another store is to keep a hint for a replica, as long as there is one.
  private mutating func fallBack(_ index: Int, _ effects: inout [Effect]) {
    guard let fallback = fallbacks.popLast() else {
      states[index] = .missed
      effects.append(.missed(replicas[index].member))
      return
    }
    states[index] = .hinting(fallback)
    effects.append(.hint(at: fallback.member, for: replicas[index].member))
  }

  /// Who counts now, or, where all goes well from here, can count.
  private func counted(possible: Bool) -> [QuorumTarget] {
    zip(replicas, states).compactMap { replica, state in
      switch state {
      case .acknowledged: replica
      case .sent: possible ? replica : nil
      case .hinting(let fallback): possible && isSloppy ? fallback : nil
      case .hinted(let fallback): isSloppy ? fallback : nil
      case .missed: nil
      }
    }
  }

  private mutating func decide(_ effects: inout [Effect]) {
    let isComplete =
      pending.isEmpty
      && states.allSatisfy { state in
        switch state {
        case .sent, .hinting: false
        case .acknowledged, .hinted, .missed: true
        }
      }
    if !isAnswered {
      if quorum.isMet(by: counted(possible: false)) {
        isAnswered = true
        effects.append(.answer(.written))
      } else if !canStillBeMet {
        isAnswered = true
        effects.append(.answer(.indeterminate(acknowledged: strength)))
      }
    }
    if isComplete { isOver = true }
  }

  /// A replica that was sent to may fail, and its hint then count on another host.
  private var canStillBeMet: Bool {
    if quorum.isMet(by: counted(possible: true)) { return true }
    guard isSloppy else { return false }
    let open = states.filter { $0 == .sent }.count
    return quorum.isMet(by: counted(possible: true) + fallbacks.suffix(open))
  }
}
