/// Clients that write, read, count and delete, mostly the same few keys. Used by one thread.
final class RandomClients: @unchecked Sendable {
  private static let plainKeys = 5
  private static let counterKeys = 2
  private static let setKeys = 2

  private unowned let world: SimulatedWorld
  private let faults: RandomFaults
  private var isOver = false
  private(set) var openCalls = 0
  /// What each client has read last of each key.
  private var contexts: [[String: SimulatedContext]]
  /// Those that may be removed.
  private var elements: [String] = []
  /// Where tombstones are reaped.
  private let brief: BriefKeys?
  private var minute: UInt64 = 0
  private var nextElement = 0
  private var nextValue = 0

  init(_ world: SimulatedWorld, count: Int, _ faults: RandomFaults) {
    self.world = world
    self.faults = faults
    contexts = Array(repeating: [:], count: count)
    brief = world.reaps ? BriefKeys(world) : nil
  }

  func begin() {
    faults.hotKey = plainKey(0)
    for client in contexts.indices { planCall(of: client) }
  }

  func end() { isOver = true }

  private func planCall(of client: Int) {
    if isOver { return }
    let pause = UInt64(10_000_000 + world.below(160_000_000))
    world.plan(after: pause, EventLabel(kind: .step, from: client, to: 0)) { [self] in call(of: client) }
  }

  private func call(of client: Int) {
    if isOver { return }
    takeNewKeys()
    let asked = chosenCall(of: client)
    let key = asked.key
    let isSynced = world.below(4) > 0
    let host = chosenHost()
    openCalls += 1
    world.begin(asked, at: host, isSynced: isSynced, client: client) { [self] result in
      openCalls -= 1
      switch result {
      case .read(let read):
        contexts[client][key] = read.context
        brief?.saw(key, read.context)
      case .written(let context):
        brief?.saw(key, context)
        // Now and then a client goes on with what it read before, and so makes a sibling.
        if world.below(4) > 0 { contexts[client][key] = context }
        if isSynced { faults.acknowledged(at: host.index) }
      case .failed: break
      }
      planCall(of: client)
    }
  }

  /// Each minute has keys of its own, so that no record grows without end.
  private func takeNewKeys() {
    let now = world.milliseconds / 60_000
    guard now != minute else { return }
    minute = now
    elements = []
    contexts = contexts.map { _ in [:] }
    faults.hotKey = plainKey(0)
  }

  /// Most of the time one that runs; now and then one whose disk is about to be lost.
  private func chosenHost() -> SimulatedHost {
    let running = world.hosts.filter { $0.process != nil }
    if running.isEmpty || world.below(20) == 0 { return world.hosts[world.below(world.hosts.count)] }
    let inDanger = running.filter { faults.victims.contains($0.index) }
    if !inDanger.isEmpty, world.below(4) == 0 { return inDanger[world.below(inDanger.count)] }
    return running[world.below(running.count)]
  }

  private func plainKey(_ number: Int) -> String { "key\(number).\(minute)" }

  private func chosenCall(of client: Int) -> AskedCall {
    if let brief, world.below(3) == 0 { return brief.chosenCall(newValue()) }
    switch world.below(10) {
    case 0..<5: return chosenPlainCall(of: client)
    case 5..<8:
      let key = "counter\(world.below(Self.counterKeys)).\(minute)"
      if world.below(4) == 0 { return .get(key) }
      let amount = Int64(world.below(9)) - 2
      return .increment(key, amount == 0 ? 10 : amount)
    default:
      let key = "set\(world.below(Self.setKeys)).\(minute)"
      switch world.below(6) {
      case 0: return .get(key)
      case 1 where !elements.isEmpty: return .remove(key, elements[world.below(elements.count)])
      default:
        nextElement += 1
        let element = "e\(nextElement)"
        // Some are never removed.
        if nextElement % 3 == 0 { elements.append(element) }
        return .add(key, element)
      }
    }
  }

  private func chosenPlainCall(of client: Int) -> AskedCall {
    // Half of all is about one key, so that clients meet.
    let key = plainKey(world.below(2) == 0 ? 0 : world.below(Self.plainKeys))
    let known = contexts[client][key]
    switch world.below(20) {
    case 0..<7: return .get(key)
    case 7, 8:
      if let known { return .delete(key, known) }
      return .get(key)
    case 9..<12: return .put(key, newValue(), nil)
    default: return .put(key, newValue(), known)
    }
  }

  private func newValue() -> String {
    nextValue += 1
    // Some are long, so that tables fill.
    let filling = world.below(8) == 0 ? String(repeating: ".", count: world.below(2_000)) : ""
    return "v\(nextValue)\(filling)"
  }
}
