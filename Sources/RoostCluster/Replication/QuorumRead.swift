// How an eventual key is read from several replicas (Dynamo: DeCandia et al., SOSP 2007, 4.5), by whichever
// store was asked:
//
// 1. As many replicas are asked at first as have to answer, those that are trusted most.
// 2. Where one fails, or has not answered when the driver's patience ends, the next is asked.
// 3. Once enough have answered, what they hold is joined, and that is the answer: it knows all that any of
//    them knew. With R + W > N, counted alike, one of them has each write that was acknowledged before.
//    Where the join does not suffice, the driver says when, all others are asked too.
// 4. After the answer the rest may still come in, until the deadline. Then every replica that answered and
//    holds less than all of them together is sent the join (read repair).
//
// Pending replicas are never asked: they may lack anything.

/// One read of an eventual key. A value that decides; whoever drives it sends and keeps the time.
///
/// - It answers once, and no later than the deadline.
/// - An answer is the join of what a quorum of replicas holds, and suffices.
public struct QuorumRead<State: Sendable & Equatable>: Sendable {
  public enum Event: Sendable {
    case found(MemberID, State)
    case failed(MemberID)
    /// Nobody answered for a while: ask another one as well.
    case impatient
    case deadline
  }

  public enum Effect: Sendable, Equatable {
    case ask(MemberID)
    case answer(State)
    /// Fewer replicas have answered than asked for: so many, counted as the quorum counts.
    case unavailable(answered: Int)
    /// All replicas were asked, and what so many of them hold together does not suffice.
    case insufficient(State, answered: Int)
    /// The replica holds less than the state.
    case repair(MemberID, State)
  }

  private enum Standing {
    case waiting
    case asked
    case found(State)
    case failed
  }

  private let quorum: QuorumSize
  private let replicas: [QuorumTarget]
  private let suffices: @Sendable (State) -> Bool
  private let join: @Sendable (State, State) -> State
  private var standings: [Standing]
  private var isAnswered = false
  public private(set) var isFinished = false

  /// - Parameters:
  ///   - replicas: of the partition, those to ask first in front. No two are one member.
  ///   - quorum: how many must answer.
  ///   - suffices: whether what was found may be the answer. Of a join it holds if of one of its parts.
  ///   - join: commutative, associative, idempotent.
  /// - Returns: with the effects to begin with.
  public static func begin(
    replicas: [QuorumTarget], quorum: QuorumSize,
    suffices: @escaping @Sendable (State) -> Bool = { _ in true },
    join: @escaping @Sendable (State, State) -> State
  ) -> (QuorumRead, [Effect]) {
    var read = QuorumRead(replicas, quorum, suffices, join)
    var effects: [Effect] = []
    read.decide(&effects)
    return (read, effects)
  }

  private init(
    _ replicas: [QuorumTarget], _ quorum: QuorumSize, _ suffices: @escaping @Sendable (State) -> Bool,
    _ join: @escaping @Sendable (State, State) -> State
  ) {
    self.quorum = quorum
    self.replicas = replicas
    self.suffices = suffices
    self.join = join
    standings = replicas.map { _ in .waiting }
  }

  /// Takes in what happened. Events that come twice, late, or of strangers change nothing.
  public mutating func receive(_ event: Event) -> [Effect] {
    if isFinished { return [] }
    var effects: [Effect] = []
    switch event {
    case .found(let member, let state):
      guard let index = replicas.firstIndex(where: { $0.member == member }) else { return [] }
      if case .found = standings[index] { return [] }
      // Also where it was given up, or never asked: an answer is an answer.
      standings[index] = .found(state)
    case .failed(let member):
      guard let index = replicas.firstIndex(where: { $0.member == member }) else { return [] }
      guard case .asked = standings[index] else { return [] }
      standings[index] = .failed
    case .impatient:
      if !isAnswered, let next = nextToAsk(besides: counted(asked: true)) { ask(next, &effects) }
    case .deadline:
      for index in replicas.indices {
        if case .found = standings[index] { continue }
        standings[index] = .failed
      }
    }
    decide(&effects)
    return effects
  }

  private mutating func ask(_ index: Int, _ effects: inout [Effect]) {
    standings[index] = .asked
    effects.append(.ask(replicas[index].member))
  }

  private func counted(asked: Bool) -> [QuorumTarget] {
    zip(replicas, standings).compactMap { replica, standing in
      switch standing {
      case .found: replica
      case .asked: asked ? replica : nil
      case .waiting, .failed: nil
      }
    }
  }

  /// The next replica to ask: one whose answer would count beside those, before one on a host that
  /// counts already.
  private func nextToAsk(besides targets: [QuorumTarget]) -> Int? {
    let waiting = replicas.indices.filter { if case .waiting = standings[$0] { true } else { false } }
    let strength = quorum.strength(of: targets)
    return waiting.first { quorum.strength(of: targets + [replicas[$0]]) > strength } ?? waiting.first
  }

  private mutating func decide(_ effects: inout [Effect]) {
    // As many under way as have to answer.
    while !isAnswered, !quorum.isMet(by: counted(asked: true)),
      let next = nextToAsk(besides: counted(asked: true))
    {
      ask(next, &effects)
    }
    let answered = counted(asked: false)
    if !isAnswered {
      if quorum.isMet(by: answered), let joined {
        if suffices(joined) {
          isAnswered = true
          effects.append(.answer(joined))
        } else {
          while let next = nextToAsk(besides: counted(asked: true)) { ask(next, &effects) }
          if !isOpen {
            isAnswered = true
            effects.append(.insufficient(joined, answered: quorum.strength(of: answered)))
          }
        }
      } else if !quorum.isMet(by: counted(asked: true)) {
        isAnswered = true
        effects.append(.unavailable(answered: quorum.strength(of: answered)))
      }
    }
    guard isAnswered, !isOpen else { return }
    isFinished = true
    guard let joined else { return }
    for (replica, standing) in zip(replicas, standings) {
      if case .found(let state) = standing, state != joined {
        effects.append(.repair(replica.member, joined))
      }
    }
  }

  /// Whether any replica was asked that may still answer.
  private var isOpen: Bool { standings.contains { if case .asked = $0 { true } else { false } } }

  /// All that was found, joined.
  private var joined: State? {
    var joined: State?
    for case .found(let state) in standings { joined = joined.map { join($0, state) } ?? state }
    return joined
  }
}
