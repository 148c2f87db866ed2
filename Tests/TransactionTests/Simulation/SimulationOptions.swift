import RoostEnvironment
import RoostTransactions
import TestSupport

/// A rule of the protocol that a simulation breaks, to see that its checks find it.
enum Mutation: String, CaseIterable, Sendable {
  /// PREPARE is not durable before the yes vote.
  case prepareNotForced
  /// COMMIT in the coordinator's log is not durable before it is told.
  case commitNotForced
  /// The batch of a commit at once is not durable before its answer.
  case commitAtOnceNotForced
  /// A read-only participant releases its locks when it votes.
  case readLocksReleasedAtVote
  /// A read-only vote promises that no writer after a restart comes at or below any time.
  case readBoundIgnored
  /// Snapshot reads do not wait for commits under way.
  case snapshotsDoNotWait
  /// Ranges are not locked.
  case noRangeLocks
  /// Nobody waits for other clocks to pass a commit.
  case noClockBoundWait
  /// A restarted coordinator does not know what it had decided, and presumes abort.
  case decisionsForgotten
  /// A participant that has nothing on disk of a transaction answers that it is aborted.
  case abortedFromNothing
  /// Outcomes of commits at once are not recorded.
  case outcomesNotRecorded
  /// An effect that is sent again goes to another store.
  case effectsRerouted
  /// A store does not record which effects it has done.
  case effectsNotMarked
  /// A coordinator says END when it has decided.
  case endBeforeAcknowledged
}

/// What may go wrong in a simulation, and how much is done in it.
struct SimulationOptions {
  var participantCount = 3
  var coordinatorCount = 2
  var clientCount = 4
  /// How long clients work and things go wrong, in milliseconds of true time.
  var workMilliseconds: UInt64 = 5_000
  /// In thousandths, a message.
  var lossRate = 20
  var doublingRate = 30
  var slownessRate = 20
  /// The mean time between crashes, of all nodes together; 0 for none.
  var crashEveryMilliseconds = 1_500
  var linkCutEveryMilliseconds = 3_000
  var diskFailureEveryMilliseconds = 0
  var clockJumpEveryMilliseconds = 1_000
  /// How often a coordinator's log is found to be a copy, whole, but under another name from then on: what
  /// it had not decided under the old one stays in doubt until an operator decides.
  var renewalEveryMilliseconds = 0
  /// How often a partition is frozen for a while, as before it is handed over.
  var freezeEveryMilliseconds = 0
  /// How often an operator decides what is in doubt somewhere, and how.
  var forceEveryMilliseconds = 0
  var operatorKind = OperatorKind.informed
  /// How far clocks really are apart, at most.
  var skewMilliseconds: UInt64 = 0
  /// How far ahead a node raises the bound of its clock: random below this.
  var boundAheadMilliseconds = 400
  /// Power fails, rather than a process dies; then all transactions are synced.
  var losesPower = true
  /// How long all may take to settle once nothing goes wrong any more.
  var settleMilliseconds: UInt64 = 15_000
  var times = ProtocolTimes()
  var mutation: Mutation?
  /// Changes the order of the driver's dictionaries, and so must change nothing.
  var dictionaryCapacity = 0
  var workload = Workload()

  enum OperatorKind {
    /// Looks into the coordinator's log, and leaves alone what may still be decided there.
    case informed
    /// Decides anything anyhow.
    case careless
  }

  /// How often what is done, as weights.
  struct Workload {
    var transfers = 4
    var lists = 4
    var registers = 3
    var audits = 1
    var snapshots = 2
    var accountCount = 5
    var listCount = 4
    var registerCount = 4
    var thinkMilliseconds = 150
  }

  init() {
    times.lockWaitMilliseconds = 800
    times.durationMilliseconds = 2_500
    times.firstRetryMilliseconds = 40
    times.longestRetryMilliseconds = 800
    times.outcomeRetentionMilliseconds = 600_000
  }

  /// Where a broken rule shows soonest.
  init(breaking mutation: Mutation) {
    self.init()
    self.mutation = mutation
    crashEveryMilliseconds = 400
    workload.thinkMilliseconds = 40
    clientCount = 5
    switch mutation {
    case .prepareNotForced:
      crashEveryMilliseconds = 120
      slownessRate = 200
      participantCount = 4
    case .commitNotForced, .commitAtOnceNotForced, .decisionsForgotten,
      .endBeforeAcknowledged:
      break
    case .readLocksReleasedAtVote, .snapshotsDoNotWait, .noRangeLocks:
      crashEveryMilliseconds = 0
    case .readBoundIgnored:
      // Too rare to wait for: it has a test of its own.
      break
    case .noClockBoundWait:
      crashEveryMilliseconds = 0
      times.clockBoundMilliseconds = 200
      skewMilliseconds = 200
      clockJumpEveryMilliseconds = 100
    case .abortedFromNothing:
      lossRate = 150
      slownessRate = 100
    case .outcomesNotRecorded:
      crashEveryMilliseconds = 200
      workload.registers = 12
    case .effectsRerouted, .effectsNotMarked:
      lossRate = 150
      doublingRate = 200
    }
  }

  /// Options for a seed: each seed is another world.
  static func random(_ random: inout SplitMix64) -> SimulationOptions {
    var options = SimulationOptions()
    options.participantCount = 2 + random.below(3)
    options.coordinatorCount = 1 + random.below(3)
    options.clientCount = 2 + random.below(5)
    options.lossRate = [0, 10, 50, 150][random.below(4)]
    options.doublingRate = [0, 20, 200][random.below(3)]
    options.slownessRate = [0, 20, 100][random.below(3)]
    options.crashEveryMilliseconds = [0, 600, 1_500, 4_000][random.below(4)]
    options.linkCutEveryMilliseconds = [0, 2_000][random.below(2)]
    options.diskFailureEveryMilliseconds = [0, 0, 3_000][random.below(3)]
    options.losesPower = random.below(3) > 0
    options.times.clockBoundMilliseconds = [0, 20, 150][random.below(3)]
    options.skewMilliseconds = options.times.clockBoundMilliseconds
    options.workload.thinkMilliseconds = [20, 150, 400][random.below(3)]
    options.renewalEveryMilliseconds = [0, 0, 2_500][random.below(3)]
    options.freezeEveryMilliseconds = [0, 0, 1_000][random.below(3)]
    options.forceEveryMilliseconds = [0, 0, 60][random.below(3)]
    return options
  }
}
