import RoostEnvironment
import RoostSimulation
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// A simulated world with a store's directory in it, for tests of the store's rules and calls.
struct SimulatedStore {
  static let path = "/data/store"
  let simulated: SimulatedEnvironment

  init(seed: UInt64 = 1, _ fileSystem: SimulatedFileSystem = SimulatedFileSystem()) {
    simulated = SimulatedEnvironment(seed: seed, fileSystem: fileSystem)
  }

  init(_ simulated: SimulatedEnvironment) { self.simulated = simulated }

  var fileSystem: SimulatedFileSystem { simulated.fileSystem }
  var workers: ManualWorkers { simulated.workers! }

  func open(_ options: StoreOptions = .small()) throws -> Store {
    try Store.open(at: Self.path, options, environment: simulated.environment)
  }

  /// What opening throws.
  func openError(_ options: StoreOptions = .small()) -> StoreError? {
    storeError { _ = try open(options) }
  }

  /// The world after a power loss now.
  func crashed(_ policy: CrashPolicy = .dropAll, seed: UInt64 = 1) -> SimulatedStore {
    SimulatedStore(seed: seed &+ 1000, fileSystem.crashClone(policy, seed: seed))
  }

  /// The world after the process was killed now.
  func killed() -> SimulatedStore { SimulatedStore(seed: 2000, fileSystem.processKillClone()) }

  var names: [String] { (try? fileSystem.entries(of: FilePath(Self.path))) ?? [] }

  func names(_ suffix: String) -> [String] { names.filter { $0.hasSuffix(suffix) } }

  func path(_ name: String) -> FilePath { FilePath(Self.path).appending(name) }

  func bytes(_ name: String) throws -> [UInt8] { try fileSystem.readWhole(path(name)) }

  func write(_ name: String, _ bytes: [UInt8]) throws {
    try fileSystem.writeWhole(path(name), bytes, synced: true)
  }
}

extension StoreOptions {
  /// Small enough that a few hundred writes do everything.
  static func small(_ change: (inout StoreOptions) -> Void = { _ in }) -> StoreOptions {
    var options = StoreOptions()
    options.memtableBytes = 64 << 10
    options.memoryBudgetBytes = 16 << 20
    options.blockCacheBytes = 1 << 20
    options.logSegmentBytes = 64 << 10
    options.logLimitBytes = 1 << 20
    change(&options)
    return options
  }
}

/// The error that `body` throws, if it is the store's.
func storeError(_ body: () throws -> Void) -> StoreError? {
  do {
    try body()
    return nil
  } catch {
    return error as? StoreError
  }
}

extension Tree {
  /// The value as text.
  func text(_ key: String) throws -> String? {
    try get(key).map { String(decoding: $0, as: UTF8.self) }
  }

  /// All keys as text, in order.
  func keys() throws -> [String] {
    var cursor = try cursor()
    var keys: [String] = []
    while try cursor.next() { keys.append(cursor.keyText) }
    return keys
  }

  /// Writes keys `prefix000`, `prefix001` … with values of so many bytes that do not compress.
  func fill(_ count: Int, prefix: String = "k", valueBytes: Int = 100, seed: UInt64 = 7) throws {
    var random = SplitMix64(seed: seed)
    for i in 0..<count { try put(Tree.key(prefix, i), random.bytes(valueBytes)) }
  }

  static func key(_ prefix: String, _ i: Int) -> String {
    let digits = String(i)
    return prefix + String(repeating: "0", count: max(0, 6 - digits.count)) + digits
  }
}
