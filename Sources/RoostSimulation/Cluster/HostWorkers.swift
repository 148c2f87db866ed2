import RoostEnvironment

/// Workers of a simulated process: each job is an event of the world, later by what the host takes for it.
///
/// Jobs of a lane keep their order. Used by one thread.
final class HostWorkers: Workers, @unchecked Sendable {
  /// How jobs come to be run.
  enum Running {
    /// As events only: their submitters wait for none of them.
    case asEvents
    /// Also by whoever is about to wait for them, as stores do.
    case onRequestToo
  }

  private let process: HostProcess
  private let running: Running
  private var lanes: [[@Sendable () -> Void]] = WorkLane.allCases.map { _ in [] }
  private var isShutDown = false

  init(_ process: HostProcess, _ running: Running) {
    self.process = process
    self.running = running
  }

  func submit(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) {
    guard !isShutDown else { return }
    lanes[lane.rawValue].append(job)
    let host = process.host
    let label = EventLabel(
      kind: .work, from: host.index, to: host.index, detail: UInt64(lane.rawValue))
    host.world.plan(after: host.workDelay(), label) { [weak self] in self?.runNext(lane) }
  }

  private func runNext(_ lane: WorkLane) {
    // Whoever waited may have run it already.
    guard !isShutDown, !lanes[lane.rawValue].isEmpty else { return }
    lanes[lane.rawValue].removeFirst()()
  }

  func runOneHere() -> Bool {
    guard running == .onRequestToo, !isShutDown,
      let lane = lanes.indices.first(where: { !lanes[$0].isEmpty })
    else { return false }
    lanes[lane].removeFirst()()
    return true
  }

  func shutdown() {
    isShutDown = true
    let dropped = lanes
    lanes = WorkLane.allCases.map { _ in [] }
    // After the state is right again: what jobs hold may submit others as it goes.
    _ = consume dropped
  }
}
