import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostTransactions
import TestSupport

/// A node of the simulated cluster, by its number among those of its kind.
enum Node: Hashable {
  case participant(Int)
  case coordinator(Int)
}

/// Participants, coordinators, their disks and clocks, and the network between them, in one thread
/// under one seed: the real state machines, driven by what happens here.
final class SimulatedCluster {
  let options: SimulationOptions
  var random: SplitMix64
  var queue = EventQueue()
  private(set) var participants: [ParticipantNode] = []
  private(set) var coordinators: [CoordinatorNode] = []
  var trace = Trace()
  /// What the checks found.
  var faults: [String] = []
  /// Things go wrong until this is set.
  private(set) var isHealed = false
  private var cuts: Set<[Node]> = []
  /// Messages and finished writes so far; a plan of crashes counts in these.
  private(set) var step = 0
  private var sharedClock: NodeClock?
  /// Called before each step.
  var beforeStep: ((Int) -> Void)?
  /// Sends of these nodes in these steps never left.
  private var unsent: Set<[Int]> = []

  init(_ options: SimulationOptions, seed: UInt64) {
    self.options = options
    random = SplitMix64(seed: seed)
    participants = (0..<options.participantCount).map { ParticipantNode($0, self) }
    coordinators = (0..<options.coordinatorCount).map { CoordinatorNode($0, self) }
  }

  var now: UInt64 { queue.now }

  /// A clock for a node. A bound of 0 is the promise that there is one clock for all: two hybrid clocks
  /// on one physical clock are two clocks, as each may run ahead of it.
  func makeClock() -> NodeClock {
    if let sharedClock { return sharedClock }
    let clock = NodeClock(
      offsetMilliseconds: Int64(random.below(Int(options.skewMilliseconds) + 1)),
      boundAhead: UInt64(1 + random.below(options.boundAheadMilliseconds)))
    if options.times.clockBoundMilliseconds == 0 { sharedClock = clock }
    return clock
  }

  var nodes: [Node] {
    participants.indices.map(Node.participant) + coordinators.indices.map(Node.coordinator)
  }

  func chance(_ thousandths: Int) -> Bool {
    thousandths > 0 && random.below(1_000) < thousandths
  }

  func after(milliseconds: Int, _ action: @escaping () -> Void) {
    queue.schedule(after: UInt64(milliseconds) * 1_000 + UInt64(random.below(1_000)), action)
  }

  /// Lets time pass until a moment, or until nothing is left to happen.
  func run(untilMilliseconds end: UInt64) {
    while let time = queue.nextTime, time <= end * 1_000, let action = queue.next() { action() }
    queue.advance(to: end * 1_000)
  }

  /// Counts a message or a write that is about to be handled; whoever handles it may die before.
  func beginStep() {
    step += 1
    beforeStep?(step)
  }

  func note(_ words: UInt64...) {
    trace.add(now)
    for word in words { trace.add(word) }
  }

  // MARK: The network

  /// - Parameter deliver: says whether anyone was there.
  func transmit(
    from: Node, to: Node, _ deliver: @escaping () -> Bool, undeliverable: @escaping () -> Void = {}
  ) {
    let copies = !isHealed && chance(options.doublingRate) ? 2 : 1
    let sent = [from.code, step]
    for _ in 0..<copies {
      if !isHealed, chance(options.lossRate) { continue }
      var delay = 200 + UInt64(random.below(3_000))
      if !isHealed, chance(options.slownessRate) { delay += UInt64(random.below(2_000_000)) }
      queue.schedule(after: delay) { [self] in
        beginStep()
        if unsent.contains(sent) || cuts.contains([from, to]) || cuts.contains([to, from]) { return }
        // Said only of what certainly never arrives, and not always.
        if !deliver(), copies == 1, random.below(4) == 0 { queue.schedule(after: delay, undeliverable) }
      }
    }
  }

  func node(of endpoint: Endpoint) -> Node? {
    switch endpoint {
    case .participant(let member): participants.firstIndex { $0.member == member }.map(Node.participant)
    case .coordinator(let id): coordinators.firstIndex { $0.isKnown(id) }.map(Node.coordinator)
    }
  }

  func send(_ envelope: Envelope, from: Node) {
    guard let to = node(of: envelope.to) else { return }
    transmit(from: from, to: to) { [self] in
      switch to {
      case .participant(let index): participants[index].receive(envelope)
      case .coordinator(let index): coordinators[index].receive(envelope)
      }
    } undeliverable: { [self] in
      if case .coordinator(let index) = from { coordinators[index].undeliverable(envelope) }
    }
  }

  func cut(_ a: Node, _ b: Node) { cuts.insert([a, b]) }
  func join(_ a: Node, _ b: Node) { cuts.remove([a, b]) }

  // MARK: Crashes

  func isUp(_ node: Node) -> Bool {
    switch node {
    case .participant(let index): participants[index].isUp
    case .coordinator(let index): coordinators[index].isUp
    }
  }

  /// - Parameter isMute: what it sent in the step before this one never left.
  func crash(_ node: Node, _ loss: CrashLoss, isMute: Bool = false) {
    trace.add(0xC0 + UInt64(node.code))
    if isMute { unsent.insert([node.code, step - 1]) }
    switch node {
    case .participant(let index): participants[index].crash(loss)
    case .coordinator(let index): coordinators[index].crash(loss)
    }
  }

  func restart(_ node: Node) {
    trace.add(0xD0 + UInt64(node.code))
    switch node {
    case .participant(let index): participants[index].start()
    case .coordinator(let index): coordinators[index].start()
    }
  }

  /// All nodes are back, all links whole, all clocks inside the bound, from now on.
  func heal() {
    isHealed = true
    cuts = []
    for participant in participants {
      participant.failsNext = false
      participant.thaw()
    }
    for coordinator in coordinators { coordinator.failsNext = false }
    for node in nodes {
      setClock(node, to: Int64(random.below(Int(options.times.clockBoundMilliseconds) / 2 + 1)))
      // A store whose disk failed is opened anew.
      if isUp(node), hasFailed(node) { crash(node, .process) }
      if !isUp(node) { restart(node) }
    }
  }

  func hasFailed(_ node: Node) -> Bool {
    switch node {
    case .participant(let index): participants[index].disk.isFailed
    case .coordinator(let index): coordinators[index].disk.isFailed
    }
  }

  func setClock(_ node: Node, to offset: Int64) {
    switch node {
    case .participant(let index): participants[index].clock.offsetMilliseconds = offset
    case .coordinator(let index): coordinators[index].clock.offsetMilliseconds = offset
    }
  }
}

extension Node {
  var code: Int {
    switch self {
    case .participant(let index): index
    case .coordinator(let index): 8 + index
    }
  }
}

/// A hash of all that happened, in order (FNV-1a over words).
struct Trace {
  private(set) var hash: UInt64 = 0xCBF2_9CE4_8422_2325

  mutating func add(_ word: UInt64) {
    hash = (hash ^ word) &* 0x100_0000_01B3
    hash ^= hash >> 29
  }
}
