import RoostEnvironment
import RoostStorage
import TestSupport

/// Options that a case is run under. None of them may change an answer.
struct ModelOptions: Sendable, CustomStringConvertible {
  var description: String
  var store = StoreOptions()
  var tree = TreeOptions()
  /// Chooses which background job runs next; urgent ones first where `nil`.
  var laneSeed: UInt64?
  var overwritesInPlace = true
  /// Whether trees keep a filter of their keys.
  var keepsFilter = false

  init(_ description: String, _ change: (inout ModelOptions) -> Void = { _ in }) {
    self.description = description
    // Small enough that everything happens within a few hundred operations.
    store.memtableBytes = 16 << 10
    store.logSegmentBytes = 16 << 10
    store.logLimitBytes = 64 << 10
    store.blockCacheBytes = 1 << 20
    tree.tableBytes = 16 << 10
    change(&self)
  }

  static let fixed: [ModelOptions] = [
    ModelOptions("small, filter of keys") {
      $0.tree.blockBytes = 256
      $0.keepsFilter = true
    },
    ModelOptions("calls, no filters, no compression") {
      $0.store.logAccess = .calls
      $0.tree.filterBitsPerKey = 0
      $0.tree.compression = .none
    },
    ModelOptions("restart 1, no cache, cut 2") {
      $0.tree.restartInterval = 1
      $0.tree.cutPrefixLength = 2
      $0.store.blockCacheBytes = 0
      $0.laneSeed = 7
    },
    ModelOptions("restart 2, tiny cache, cut 8, few files, small filter of keys") {
      $0.keepsFilter = true
      $0.store.keyFilterBytes = 1 << 10
      $0.tree.restartInterval = 2
      $0.tree.cutPrefixLength = 8
      $0.tree.blockBytes = 512
      $0.store.blockCacheBytes = 8 << 10
      $0.store.openFileLimit = 16
      $0.laneSeed = 8
    },
    ModelOptions("no overwriting in place, little log, filter of keys that is given up") {
      $0.keepsFilter = true
      $0.store.keyFilterBytes = 128
      $0.overwritesInPlace = false
      $0.store.logLimitBytes = 32 << 10
      $0.tree.blockBytes = 256
    },
    ModelOptions("larger memtables") {
      $0.store.memtableBytes = 64 << 10
      $0.tree.tableBytes = 64 << 10
      $0.store.logSegmentBytes = 64 << 10
      $0.store.logLimitBytes = 256 << 10
    },
    ModelOptions("everything in memory") {
      $0.store.memtableBytes = 8 << 20
      $0.store.logLimitBytes = 64 << 20
    },
  ]

  static func drawn(_ random: inout SplitMix64) -> ModelOptions {
    func one<T>(_ choices: T...) -> T { choices[random.below(choices.count)] }
    var options = ModelOptions("drawn")
    options.store.memtableBytes = one(16 << 10, 16 << 10, 24 << 10, 256 << 10)
    options.store.logSegmentBytes = one(16 << 10, 20 << 10, 128 << 10)
    options.store.logLimitBytes = options.store.logSegmentBytes * one(2, 4, 64)
    options.store.blockCacheBytes = one(0, 4 << 10, 64 << 10, 1 << 20)
    options.store.logAccess = one(.mapped, .calls)
    options.store.openFileLimit = one(16, nil)
    options.tree.blockBytes = one(256, 257, 1024, 4096)
    options.tree.restartInterval = one(1, 2, 3, 16, 256)
    options.tree.filterBitsPerKey = one(0, 1, 10, 64)
    options.tree.compression = one(.none, .lz4)
    options.tree.tableBytes = one(16 << 10, 17 << 10, 64 << 10)
    options.tree.cutPrefixLength = one(0, 1, 2, 8)
    options.laneSeed = one(nil, random.next())
    options.overwritesInPlace = one(true, true, false)
    options.keepsFilter = one(true, false)
    options.store.keyFilterBytes = one(0, 64, 192, 1 << 10, 1 << 20)
    options.description = "drawn: \(options.store) \(options.tree)"
    return options
  }
}
