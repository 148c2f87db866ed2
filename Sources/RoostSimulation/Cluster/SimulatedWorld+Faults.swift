import RoostCluster
import SystemPackage

/// A copy of a node's disk, as a backup keeps it.
public struct SimulatedDisk: Sendable {
  let node: SimulatedNode
  let fileSystem: SimulatedFileSystem
}

// What can be done to a simulated cluster.

extension SimulatedWorld {
  // MARK: - At random

  /// From now on things go wrong at random, by the seed, while other calls let time pass; until
  /// ``settle()``. What a fault had befallen before stays as it is.
  ///
  /// A fault of a disk, or a node that is down, may keep a node from what is asked of it: calls then fail as
  /// they would in production. Among `.members` nodes leave for good: the others are in ``runningNodes``.
  /// Once there were transactions random faults lose no disk and replace no member, since what transactions
  /// write is on one disk, and clocks stay within the bound that transactions need.
  ///
  /// - Parameter kinds: what may go wrong.
  /// - Throws: ``SimulationError`` where the world has no cluster yet, or faults are under way.
  public func beginFaults(_ kinds: SimulationFaults = .all) throws {
    guard !hosts.isEmpty else { throw SimulationError("the world has no cluster yet") }
    guard faults == nil else { throw SimulationError("faults are under way already") }
    let faults = RandomFaults(self, kinds)
    self.faults = faults
    faults.begin()
  }

  // MARK: - The network

  /// How the network treats messages from now on.
  public var weather: NetworkWeather {
    get { network.weather }
    set { network.weather = newValue }
  }

  /// From now on no message gets from `nodes` to `others`, nor back. Those under way are lost.
  public func partition(_ nodes: [SimulatedNode], from others: [SimulatedNode]) {
    for node in nodes {
      for other in others where other != node {
        network.cut(from: node.index, to: other.index)
        network.cut(from: other.index, to: node.index)
      }
    }
  }

  /// From now on no message gets from one node to the other; the other way they do.
  public func cut(from node: SimulatedNode, to other: SimulatedNode) {
    network.cut(from: node.index, to: other.index)
  }

  /// Ends the cut of one way.
  public func mend(from node: SimulatedNode, to other: SimulatedNode) {
    network.mend(from: node.index, to: other.index)
  }

  /// Ends all cuts.
  public func heal() { network.mendAll() }

  /// From now on a node can or cannot ask the cluster's directory.
  public func setDirectory(_ isWithinReach: Bool, of node: SimulatedNode) {
    if isWithinReach { hidesDirectory.remove(node.index) } else { hidesDirectory.insert(node.index) }
  }

  // MARK: - Machines

  /// The machine loses its power, and what its disk had not synced as far as the policy says.
  ///
  /// - Throws: ``SimulationError`` where there is no such node.
  public func crash(_ node: SimulatedNode, losing policy: CrashPolicy = .random) throws {
    let host = try host(node)
    host.die(leaving: host.fileSystem.crashClone(policy, seed: number()))
  }

  /// The same in the middle of what it does, before the disk's operation of that number from now; nothing
  /// happens where it does not run.
  ///
  /// - Throws: ``SimulationError`` where there is no such node.
  public func crash(
    _ node: SimulatedNode, afterOperations count: Int, losing policy: CrashPolicy = .random
  ) throws {
    try host(node).loseThePower(afterOperations: max(1, count), policy, seed: number())
  }

  /// The process is killed; the machine, and all that was written, stays.
  ///
  /// - Throws: ``SimulationError`` where there is no such node.
  public func kill(_ node: SimulatedNode) throws {
    let host = try host(node)
    host.die(leaving: host.fileSystem.processKillClone())
  }

  /// Ends the process in good order.
  ///
  /// - Throws: `DatabaseError` where closing its store failed; ``SimulationError`` where there is no such
  ///   node.
  public func close(_ node: SimulatedNode) throws { try host(node).close() }

  /// Starts the process again, where it does not run.
  ///
  /// - Throws: `DatabaseError`: as opening a store, and `.notAMember` once the disk was wiped, or has gone
  ///   back too far where tombstones are reaped: then it stays down.
  ///   ``SimulationError`` where there is no such node.
  public func restart(_ node: SimulatedNode) throws {
    let host = try host(node)
    guard host.process == nil else { return }
    do { try host.start(try host.founding()) } catch let error as DatabaseError
      where error.code == .notAMember
    {
      host.isLost = true
      throw error
    }
    if let disk = host.crashedDisk { host.die(leaving: disk) }
  }

  // MARK: - Disks

  /// Copies a node's disk as it is, as the file system of a running machine is copied.
  ///
  /// - Throws: ``SimulationError`` where there is no such node.
  public func backUp(_ node: SimulatedNode) throws -> SimulatedDisk {
    SimulatedDisk(node: node, fileSystem: try host(node).fileSystem.crashClone(.keepAll, seed: 0))
  }

  /// The node loses its disk, and gets one that was copied earlier; its process ends.
  ///
  /// Its files are written anew, as a restore does it.
  ///
  /// - Throws: ``SimulationError`` where there is no such node, or the copy is of another one.
  public func restore(_ node: SimulatedNode, from backup: SimulatedDisk) throws {
    guard backup.node == node else { throw SimulationError("a disk of \(backup.node) for \(node)") }
    // A clone, since the backup may be restored once more.
    let disk = backup.fileSystem.crashClone(.keepAll, seed: 0)
    disk.capacity = nil
    try disk.rewriteFiles(under: "/disk")
    history.noteLoss()
    try host(node).die(leaving: disk)
  }

  /// Copies a disk so that nobody can tell the copy from it: numbers and times of files too.
  package func image(_ node: SimulatedNode) throws -> SimulatedDisk {
    SimulatedDisk(node: node, fileSystem: try host(node).fileSystem.processKillClone())
  }

  /// Puts an image in the place of the disk that it was taken of; the process ends.
  package func putBack(_ node: SimulatedNode, image: SimulatedDisk) throws {
    guard image.node == node else { throw SimulationError("a disk of \(image.node) for \(node)") }
    history.noteLoss()
    try host(node).die(leaving: image.fileSystem.processKillClone())
  }

  /// The node loses its disk for good, and its process ends. The cluster does not take it back.
  ///
  /// - Throws: ``SimulationError`` where there is no such node.
  public func wipe(_ node: SimulatedNode) throws {
    let host = try host(node)
    history.noteLoss()
    host.die(leaving: SimulatedFileSystem())
    host.isLost = true
  }

  /// From now on the disk takes so many bytes more.
  ///
  /// - Throws: ``SimulationError`` where there is no such node.
  public func fillDisk(_ node: SimulatedNode, leaving byteCount: Int64 = 0) throws {
    let host = try host(node)
    host.hasDiskFaults = true
    host.fileSystem.capacity = host.fileSystem.usedByteCount + byteCount
  }

  /// The disk fails the sync of a file, once; what was not synced then is lost.
  ///
  /// - Throws: ``SimulationError`` where there is no such node.
  public func failSync(_ node: SimulatedNode) throws {
    let host = try host(node)
    host.hasDiskFaults = true
    host.fileSystem.inject(FaultRule([.sync], .fail(.io)))
  }

  /// The disk is well again. A store that a failed sync has closed to writers stays so until its node is
  /// started again.
  ///
  /// - Throws: ``SimulationError`` where there is no such node.
  public func mendDisk(_ node: SimulatedNode) throws {
    let host = try host(node)
    host.fileSystem.capacity = nil
    host.fileSystem.clearFaults()
  }

  // MARK: - Time

  /// Sets a node's wall clock ahead of the others', or behind where `duration` is negative.
  ///
  /// - Throws: ``SimulationError`` where there is no such node.
  public func setClock(_ node: SimulatedNode, ahead duration: Duration) throws {
    let (seconds, attoseconds) = duration.components
    try host(node).time.skewNanoseconds = seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    let skews = hosts.map(\.time.skewNanoseconds)
    let bound = Self.clockBoundMilliseconds * 1_000_000
    if (skews.max() ?? 0) - (skews.min() ?? 0) > bound { clocksWereApart = true }
  }

  /// From now on all that the node does, and its messages, take so many times as long; 1 is as fast as
  /// others.
  ///
  /// - Throws: ``SimulationError`` where there is no such node.
  public func slow(_ node: SimulatedNode, by factor: Int) throws {
    try host(node).slowness = UInt64(min(max(factor, 1), 1_000))
  }
}
