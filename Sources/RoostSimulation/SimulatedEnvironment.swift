public import RoostEnvironment

/// A whole simulated world: files, clocks, randomness and workers, all from one seed.
///
/// Thread-safe. What ran in it and how a crash ends depend on the seed alone, as long as one thread
/// acts.
public final class SimulatedEnvironment: @unchecked Sendable {
  public let fileSystem: SimulatedFileSystem
  public let time: SimulatedTime
  public let randomness: SeededRandomness
  private let laneSeed: UInt64?
  private let lock = Lock()
  private var made: [ManualWorkers] = []

  /// - Parameter laneSeed: see ``ManualWorkers/init(laneSeed:)``.
  public init(
    seed: UInt64 = 1, fileSystem: SimulatedFileSystem = SimulatedFileSystem(),
    time: SimulatedTime = SimulatedTime(), laneSeed: UInt64? = nil
  ) {
    self.fileSystem = fileSystem
    self.time = time
    self.randomness = SeededRandomness(seed: seed)
    self.laneSeed = laneSeed
  }

  /// What to open a store with.
  public var environment: Environment {
    Environment(
      fileSystem: fileSystem, time: time, randomness: randomness,
      makeWorkers: { [self] in
        let workers = ManualWorkers(laneSeed: laneSeed)
        lock.withLock { made.append(workers) }
        return workers
      })
  }

  /// The workers of the store that was opened last.
  public var workers: ManualWorkers? { lock.withLock { made.last } }

  /// The world after a power loss: other files, later, and with randomness of its own.
  public func crashed(_ policy: CrashPolicy = .random, seed: UInt64) -> SimulatedEnvironment {
    SimulatedEnvironment(
      seed: seed, fileSystem: fileSystem.crashClone(policy, seed: seed), time: time,
      laneSeed: laneSeed)
  }
}

extension Environment {
  /// A simulated world, for whoever needs no more of it than this. See ``SimulatedEnvironment``.
  public static func simulated(
    seed: UInt64 = 1, fileSystem: SimulatedFileSystem = SimulatedFileSystem()
  ) -> Environment {
    SimulatedEnvironment(seed: seed, fileSystem: fileSystem).environment
  }
}
