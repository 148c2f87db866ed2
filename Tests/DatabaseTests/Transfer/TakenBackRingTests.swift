import RoostEnvironment
import RoostSimulation
import RoostStorage
import TestSupport
import Testing

@testable import RoostCluster

/// A ring that could not be told to all stores is taken back in an order that leaves no partition with two
/// owners, whatever is there after a power loss.
// Budget: 1 s
@Suite struct TakenBackRingTests {
  /// Disks that a power loss would leave. Thread-safe.
  private final class Clones: @unchecked Sendable {
    private let lock = Lock()
    // Guarded by `lock`.
    private var clones: [SimulatedFileSystem] = []

    var all: [SimulatedFileSystem] { lock.withLock { clones } }
    func add(_ clone: SimulatedFileSystem) { lock.withLock { clones.append(clone) } }
  }

  /// The ring as two stores have it on a disk: of the source of a move, and of its receiver.
  private func rings(_ fileSystem: SimulatedFileSystem) throws -> (source: RingState, receiver: RingState) {
    let environment = SimulatedEnvironment(seed: 2, fileSystem: fileSystem).environment
    let states = try (0..<2).map { number in
      let store = try Store.open(at: TransferWorld.path(number), environment: environment)
      let system = try #require(store.existingTree(Member.systemTree))
      let state = try RingState(decoding: try #require(try system.get(Member.SystemKey.ring)))
      try store.close()
      return state
    }
    return (states[0], states[1])
  }

  /// From the first store to the second. The third cannot be told of it, or the receiver cannot: then nobody
  /// knows whether that has it, and nothing is taken back.
  @Test(arguments: [2, 1])
  func `a flip that fails is taken back first where something was gained`(failing: Int) throws {
    let world = TransferWorld(seed: 1)
    let core = try world.open([0, 1, 2])
    let members = try (0..<3).map { try core.memberID(at: TransferWorld.path($0)) }
    let partition = try #require(
      (0..<16).first { core.ringSnapshot.ring.replicas(of: $0) == [members[0]] })
    let move = PartitionMove(partition: partition, slot: 0, from: members[0], to: members[1])
    let next = try core.ringState.moved(move)
    let failed = core.ringState.revision + 1
    let clones = Clones()
    let fileSystem = world.fileSystem
    fileSystem.onOperation { operation throws(FileSystemError) in
      guard operation.changesDisk else { return }
      clones.add(fileSystem.crashClone(.dropAll))
      if operation.path.string.hasPrefix(TransferWorld.path(failing) + "/") {
        throw FileSystemError(.io, operation: "\(operation.kind)", path: operation.path.string)
      }
    }
    let error = databaseError {
      try core.topology.withLock { () throws(DatabaseError) in
        try core.install(next, routing: move.partition)
      }
    }
    fileSystem.onOperation(nil)
    clones.add(fileSystem.crashClone(.dropAll))
    #expect(error != nil)
    #expect(core.ringState.ring.replica(of: partition, slot: 0) == members[0])

    var told = 0
    var last: (source: RingState, receiver: RingState)?
    for (index, clone) in clones.all.enumerated() {
      let (source, receiver) = try rings(clone)
      if receiver.revision == failed || source.revision == failed { told += 1 }
      // The receiver, opened without the source, would serve what the source serves again.
      #expect(!(source.revision > failed && receiver.revision == failed), "clone \(index)")
      last = (source, receiver)
    }
    #expect(told > 0)
    let (source, receiver) = try #require(last)
    if failing == 2 {
      #expect(!core.isRingInDoubt && source.revision > failed && receiver.revision > failed)
    } else {
      #expect(core.isRingInDoubt && source.revision == failed)
    }
    // One of its stores takes nothing more.
    try? core.close()
  }
}
