import RoostEnvironment
import Synchronization
import SystemPackage
import TestSupport
import Testing

@testable import RoostStorage

/// Many threads on one store whose memtables, caches and limits are so small that rotations,
/// flushes, compactions and stalls happen all the time. A round writes the same number under every
/// key, in one batch: whoever sees two numbers in one snapshot has seen half a batch, and whoever
/// sees none has met a false "absent" (rules 8 and 9).
// Budget: 10 s quick, 40 s full; 30 s quick under the thread sanitizer.
@Suite(.serialized) struct StoreThreadTests {
  static func options(_ access: StoreOptions.LogAccess = .mapped) -> StoreOptions {
    var options = StoreOptions()
    options.memtableBytes = 16 << 10
    options.logSegmentBytes = 32 << 10
    options.logLimitBytes = 128 << 10
    options.blockCacheBytes = 32 << 10
    options.openFileLimit = 16
    options.logAccess = access
    // Out of reach: a disk that others use may take minutes over what these tests write.
    options.stallDeadline = .seconds(1_200)
    return options
  }

  static let treeOptions: TreeOptions = {
    var options = TreeOptions()
    options.blockBytes = 256
    options.tableBytes = 16 << 10
    return options
  }()

  static let keyCount = 40
  static func key(_ index: Int) -> [UInt8] { [UInt8(index % 5), 7, UInt8(index)] }

  /// The number of a round, and bytes that differ in length from round to round.
  static func value(_ round: Int) -> [UInt8] {
    var bytes = (0..<8).map { UInt8(truncatingIfNeeded: round >> ($0 * 8)) }
    bytes.append(
      contentsOf: repeatElement(UInt8(truncatingIfNeeded: round), count: 20 + round * 7 % 150))
    return bytes
  }

  /// The round that a value was written in; `nil` where no round wrote it.
  static func round(_ bytes: [UInt8]) -> Int? {
    guard bytes.count >= 8 else { return nil }
    var round = 0
    for index in (0..<8).reversed() { round = round << 8 | Int(bytes[index]) }
    return bytes == value(round) ? round : nil
  }

  /// Writes a round: every key of both trees, with a range deletion before them now and then.
  static func write(_ round: Int, _ store: Store, _ trees: [Tree]) throws {
    try store.write(round % 50 == 0 ? .synced : .applied) { batch in
      let value = value(round)
      for tree in trees {
        if round % 3 == 0 {
          batch.deleteRange(from: [0] as [UInt8], to: [255] as [UInt8], in: tree)
        }
        for index in 0..<keyCount { batch.put(key(index), value, in: tree) }
      }
    }
  }

  /// Reads everything at a snapshot, in several ways. Returns the round, or `nil` where two differ.
  static func readAll(
    _ store: Store, _ trees: [Tree], at snapshot: borrowing Snapshot, backward: Bool
  ) throws -> Int? {
    var rounds: Set<Int> = []
    for tree in trees {
      var cursor = try tree.cursor(at: snapshot)
      var count = 0
      while try backward ? cursor.previous() : cursor.next() {
        guard let round = round(cursor.valueBytes) else { return nil }
        rounds.insert(round)
        count += 1
      }
      if count != keyCount { return nil }
      for value in try tree.multiGet((0..<5).map { key($0 * 7) }, at: snapshot) {
        guard let value, let round = round(value) else { return nil }
        rounds.insert(round)
      }
    }
    return rounds.count == 1 ? rounds.first : nil
  }

  private func withStore(
    _ options: StoreOptions = options(), _ body: (Store, [Tree], String) throws -> Void
  ) throws {
    let directory = try TemporaryDirectory()
    let path = directory.appending("store").string
    let store = try Store.open(at: path, options)
    let trees = [try store.tree("a", Self.treeOptions), try store.tree("b", Self.treeOptions)]
    try trees[0].keepKeyFilter()
    try body(store, trees, path)
    try store.close()
  }

  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func `readers beside a writer`(_ access: StoreOptions.LogAccess) throws {
    let rounds = TestSize.of(quick: 150, full: 3000)
    try withStore(Self.options(access)) { store, trees, _ in
      try Self.write(1, store, trees)
      let faults = Faults()
      let isDone = Atomic<Bool>(false)
      let written = Atomic<Int>(1)
      runThreads(4) { thread in
        if thread == 0 {
          defer { isDone.store(true, ordering: .releasing) }
          for round in 2...rounds {
            do { try Self.write(round, store, trees) } catch { return faults.check(false) }
            written.store(round, ordering: .releasing)
          }
          return
        }
        var last = 1
        var step = thread
        while !isDone.load(ordering: .acquiring) {
          step += 1
          do {
            let least = max(last, written.load(ordering: .acquiring))
            if thread == 1 {
              // Point reads without a snapshot: never absent, never older than what has returned.
              for index in 0..<Self.keyCount {
                let value = try trees[index & 1].get(Self.key(index))
                faults.check(value.flatMap { Self.round($0) }.map { $0 >= least } ?? false)
                let read = try trees[index & 1].withValue(forKey: Self.key(index)) {
                  ByteView($0).array
                }
                faults.check(read.flatMap { Self.round($0) }.map { $0 >= least } ?? false)
              }
            } else {
              let snapshot = store.snapshot()
              let round = try Self.readAll(store, trees, at: snapshot, backward: step % 2 == 0)
              faults.check(round.map { $0 >= least } ?? false)
              last = round ?? last
            }
          } catch { faults.check(false) }
        }
      }
      #expect(faults.total == 0, "the first on line \(faults.firstLine)")
      #expect(store.statistics.flushes > 5 && store.statistics.compactions > 0)
      try checkTables(store)
    }
  }

  /// Snapshots and cursors that are kept while others write, flush and compact.
  @Test func `held across flushes and compactions`() throws {
    let rounds = TestSize.of(quick: 100, full: 1500)
    try withStore { store, trees, _ in
      try Self.write(1, store, trees)
      let faults = Faults()
      let isDone = Atomic<Bool>(false)
      runThreads(4) { thread in
        do {
          switch thread {
          case 0:
            defer { isDone.store(true, ordering: .releasing) }
            for round in 2...rounds { try Self.write(round, store, trees) }
          case 1:
            var step = 0
            while !isDone.load(ordering: .acquiring) {
              step += 1
              switch step % 3 {
              case 0: try store.flush()
              case 1:
                try trees[step & 1].compact(from: Self.key(step % 20), to: Self.key(20 + step % 20))
              default: try store.compact()
              }
            }
          default:
            while !isDone.load(ordering: .acquiring) {
              let snapshot = store.snapshot()
              // Pinned without the snapshot's help.
              var cursor = try trees[0].cursor()
              let first = try Self.readAll(store, trees, at: snapshot, backward: false)
              faults.check(first != nil)
              var shown: Set<Int> = []
              for _ in 0..<8 {
                faults.check(
                  try Self.readAll(store, trees, at: snapshot, backward: thread == 2) == first)
                for _ in 0..<5 {
                  faults.check(try cursor.next())
                  guard let round = Self.round(cursor.valueBytes) else {
                    faults.check(false)
                    continue
                  }
                  shown.insert(round)
                }
              }
              faults.check(try !cursor.next())
              faults.check(shown.count == 1 && shown.first! >= first ?? 0)
            }
          }
        } catch {
          print("held across flushes and compactions, thread \(thread): \(error)")
          faults.check(false)
        }
      }
      #expect(faults.total == 0, "the first on line \(faults.firstLine)")
      try checkTables(store)
    }
  }

  /// Group commit: what each writer was told is there, at once and after reopening.
  @Test(arguments: [StoreOptions.LogAccess.mapped, .calls])
  func `several writers`(_ access: StoreOptions.LogAccess) throws {
    let writers = 4
    let count = TestSize.of(quick: 150, full: 2500)
    let directory = try TemporaryDirectory()
    let path = directory.appending("store").string
    let store = try Store.open(at: path, Self.options(access))
    let trees = [try store.tree("a", Self.treeOptions), try store.tree("b", Self.treeOptions)]
    let faults = Faults()
    @Sendable func key(_ writer: Int, _ index: Int) -> [UInt8] {
      [UInt8(index & 3), UInt8(writer), UInt8(index >> 8), UInt8(index & 255)]
    }
    runThreads(writers) { writer in
      for index in 0..<count {
        do {
          let durability: Durability = (index + writer) % 16 == 0 ? .synced : .applied
          let tree = trees[index & 1]
          if index % 3 == 0 {
            try store.write(durability) { batch in
              for tree in trees { batch.put(key(writer, index), Self.value(index), in: tree) }
              if index >= 6 { batch.delete(key(writer, index - 6), in: trees[0]) }
            }
            faults.check(try trees[1].get(key(writer, index)) == Self.value(index))
          } else {
            try tree.put(key(writer, index), Self.value(index), durability)
          }
          faults.check(try tree.get(key(writer, index)) == Self.value(index))
          if index % 64 == 63 { try store.sync() }
        } catch {
          print("several writers: \(error)")
          faults.check(false)
        }
      }
    }
    #expect(faults.total == 0, "the first on line \(faults.firstLine)")
    func check(_ store: Store) throws {
      for writer in 0..<writers {
        for index in 0..<count {
          let key = key(writer, index)
          let isDeleted = index % 3 == 0 && index + 6 < count
          let inA = index % 3 == 0 ? !isDeleted : index & 1 == 0
          let inB = index % 3 == 0 || index & 1 == 1
          #expect(
            try store.tree("a").get(key) == (inA ? Self.value(index) : nil), "a \(writer) \(index)")
          #expect(
            try store.tree("b").get(key) == (inB ? Self.value(index) : nil), "b \(writer) \(index)")
        }
      }
    }
    try check(store)
    try store.close()
    let again = try Store.open(at: path, Self.options(access))
    try check(again)
    try checkTables(again)
    try again.close()
  }

  /// Closing while others use the store: their calls finish or say that it is closed; what was
  /// acknowledged stays.
  @Test func `close during use`() throws {
    for repetition in 0..<TestSize.of(quick: 8, full: 40) {
      let directory = try TemporaryDirectory()
      let path = directory.appending("store").string
      let faults = Faults()
      let reached = Atomic<Int>(0)
      do {
        let store = try Store.open(at: path, Self.options(repetition % 2 == 0 ? .mapped : .calls))
        let trees = [try store.tree("a", Self.treeOptions), try store.tree("b", Self.treeOptions)]
        try Self.write(1, store, trees)
        reached.store(1, ordering: .releasing)
        runThreads(4) { thread in
          do {
            var round = 1
            while true {
              switch thread {
              case 0:
                round += 1
                try Self.write(round, store, trees)
                reached.store(round, ordering: .releasing)
              case 1:
                let snapshot = store.snapshot()
                faults.check(try Self.readAll(store, trees, at: snapshot, backward: false) != nil)
              case 2:
                round += 1
                if round % 2 == 0 { try store.flush() } else { try store.compact() }
              default:
                while reached.load(ordering: .acquiring) < 10 + 5 * repetition {
                  _ = try trees[0].get(Self.key(1))
                }
                try store.close()
                try store.close()
                return
              }
            }
          } catch let error as StoreError {
            if error.code != .closed { print("close during use, thread \(thread): \(error)") }
            faults.check(error.code == .closed)
          } catch { faults.check(false) }
        }
      }
      #expect(faults.total == 0, "the first on line \(faults.firstLine)")
      let store = try Store.open(at: path, Self.options())
      let trees = [try store.tree("a"), try store.tree("b")]
      let snapshot = store.snapshot()
      let round = try Self.readAll(store, trees, at: snapshot, backward: true)
      let last = reached.load(ordering: .acquiring)
      #expect(
        round == last || round == last + 1, "round \(String(describing: round)) after \(last)")
      try store.close()
    }
  }

  /// Dropping a tree while others use it (rule 17): open cursors finish, other calls finish or say
  /// so, and a batch is refused whole.
  @Test func `drop during use`() throws {
    let drops = TestSize.of(quick: 25, full: 250)
    try withStore { store, trees, _ in
      let faults = Faults()
      let isDone = Atomic<Bool>(false)
      _ = try store.tree("t", Self.treeOptions)
      runThreads(4) { thread in
        var round = 0
        func isRight(_ error: any Error) -> Bool {
          let right = (error as? StoreError)?.code == .treeDropped
          if !right { print("drop during use, thread \(thread): \(error)") }
          return right
        }
        if thread == 0 {
          defer { isDone.store(true, ordering: .releasing) }
          for _ in 0..<drops {
            do {
              let tree = try store.tree("t", Self.treeOptions)
              while try tree.get(Self.key(0)) == nil {}
              for _ in 0..<20 { _ = try tree.get(Self.key(1)) }
              try store.dropTree("t")
            } catch {
              print("drop during use: \(error)")
              faults.check(false)
            }
          }
          return
        }
        while !isDone.load(ordering: .acquiring) {
          do {
            guard let tree = store.existingTree("t") else { continue }
            switch thread {
            case 1:
              round += 1
              try Self.write(round, store, [tree, trees[0]])
            case 2:
              var cursor = try tree.cursor()
              var rounds: Set<Int> = []
              var count = 0
              while try cursor.next() {
                guard let round = Self.round(cursor.valueBytes) else {
                  faults.check(false)
                  continue
                }
                rounds.insert(round)
                count += 1
              }
              faults.check(count == 0 || count == Self.keyCount && rounds.count == 1)
            default:
              try tree.flush()
              try tree.compact()
            }
          } catch { faults.check(isRight(error)) }
        }
        // What the batches with the dropped tree wrote elsewhere is whole.
        do {
          var cursor = try trees[0].cursor()
          var rounds: Set<Int?> = []
          while try cursor.next() { rounds.insert(Self.round(cursor.valueBytes)) }
          faults.check(rounds.count <= 1 && !rounds.contains(nil))
        } catch { faults.check(false) }
      }
      #expect(faults.total == 0, "the first on line \(faults.firstLine)")
    }
  }
}
