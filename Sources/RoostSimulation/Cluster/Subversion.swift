import RoostCausality
import RoostCluster

/// How a simulation is subverted, so that its checks can be checked: each breaks one rule of the database.
/// Most are done by the network, which the database's own code never hears of.
package enum Subversion: Sendable, Hashable, CaseIterable {
  case none
  /// A replica acknowledges a state and forgets it.
  case forgetsApplied
  /// A store acknowledges a hint and does not keep it.
  case dropsHints
  /// A replica acknowledges before what it has would survive its machine.
  case acknowledgesUnsynced
  /// A replica takes what it is sent for all there is, and drops what it had beside that.
  case overwrites
  /// A state is sent as its latest value alone, with a context that claims all before it.
  case sendsBareDots
  /// A store that is started again goes on as the incarnation that it was, whatever it has lost. From the
  /// next start of each on.
  case keepsIncarnations
  /// What a node hands on for a client comes twice now and then.
  case repeatsRequests
  /// A replica reaps its tombstones as soon as it finds them old enough: the network says in the others'
  /// place that they have nothing of the key.
  case reapsEarly
  /// What is written while a partition moves is not sent on to whom it moves to.
  case dropsForwards
  /// Whom a partition moves to counts for the quorums of writes as its replicas do.
  case countsPending
  /// Reads of transactional keys at other nodes do not wait for commits in flight.
  case readsThePast
  /// A store that has only been read from lets go of its locks once it has voted.
  case releasesReadLocks
  /// An effect goes to another store where its target is down.
  case reroutesEffects
  /// Who is asked by one in doubt says "aborted" merely from having nothing.
  case presumesAbort
  /// Other nodes say that there is no record of a transaction, and will be none.
  case forgetsOutcomes
  /// A partition's owner gives its transactional keys up while transactions hold locks of them.
  case givesUpUndrained
  /// A member that leaves gives nobody what it has on record of transactions.
  case dropsBequest

  /// Whether it is about transactions.
  package var isOfTransactions: Bool {
    switch self {
    case .readsThePast, .releasesReadLocks, .reroutesEffects, .presumesAbort, .forgetsOutcomes,
      .givesUpUndrained, .dropsBequest:
      true
    default: false
    }
  }
}

extension SimulatedWorld {
  /// What a message is answered with that gets no further; `nil` of one that does.
  func answerOfSwallowed(_ message: NodeMessage) -> [UInt8]? {
    switch subversion {
    case .forgetsApplied: message.kind == NodeMessageKind.apply ? [] : nil
    case .dropsHints: message.kind == NodeMessageKind.hint ? [] : nil
    case .reapsEarly: ForgedMessage.agreement(to: message)
    default: nil
    }
  }

  /// What nodes themselves are told to break.
  var nodeSubversions: NodeSubversions {
    var broken = NodeSubversions()
    broken.dropsForwards = subversion == .dropsForwards
    broken.countsPending = subversion == .countsPending
    broken.givesUpUndrained = subversion == .givesUpUndrained
    broken.dropsBequest = subversion == .dropsBequest
    return broken
  }

  /// Whether a message comes twice.
  func repeats(_ message: NodeMessage) -> Bool {
    subversion == .repeatsRequests && message.kind == NodeMessageKind.key && chance(300)
  }

  /// A message as it arrives.
  func forged(_ message: NodeMessage, at process: HostProcess) -> NodeMessage {
    let isState = message.kind == NodeMessageKind.apply
    if subversion == .readsThePast, message.kind == NodeMessageKind.transactionRead {
      return staleRead(message)
    }
    let change: (inout ForgedMessage) -> Void
    switch subversion {
    case .acknowledgesUnsynced where isState: change = { $0.isSynced = false }
    case .overwrites where isState:
      change = { forged in
        guard let record = forged.record,
          let held = try? process.node?.keyspace(Self.keyspace).held(forged.key)
        else { return }
        var context = record.context
        context.merge(held.context)
        forged.record = Record(context: context, siblings: record.siblings, states: record.states)
      }
    case .sendsBareDots where isState:
      change = { forged in
        guard let record = forged.record, record.states.isEmpty, let latest = record.siblings.latest else {
          return
        }
        var siblings = SiblingSet()
        siblings.insert(latest)
        forged.record = Record(context: VersionVector([latest.dot]), siblings: siblings, states: [])
      }
    default: return message
    }
    guard let body = try? ForgedMessage.body(of: message.body, change) else { return message }
    return NodeMessage(kind: message.kind, body: body)
  }
}
