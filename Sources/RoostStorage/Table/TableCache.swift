import RoostEnvironment
import Synchronization
import SystemPackage

/// Opens table files when they are first read, and keeps the number of open ones below a limit.
///
/// A point read finds a table's reader through an epoch-protected pointer, without a lock. When too
/// many are open, one that was not used since the hand last passed it is closed (CLOCK); readers
/// that still hold it finish with it.
///
/// Thread-safe.
final class TableCache: @unchecked Sendable {
  private let fileSystem: any FileSystem
  private let directory: FilePath
  private let limit: Int
  let blockCache: BlockCache
  let epochs: EpochDomain

  private let lock = Lock()
  private var open: [ReaderSlot] = []
  private var hand = 0
  private var obsolete: [UInt64] = []
  private let hasObsolete = Atomic<Bool>(false)
  /// Called, on whatever thread let go of a file last, when there is something to remove.
  private let onObsolete: @Sendable () -> Void

  init(
    _ fileSystem: any FileSystem, _ directory: FilePath, limit: Int, blockCache: BlockCache,
    epochs: EpochDomain, onObsolete: @escaping @Sendable () -> Void
  ) {
    self.fileSystem = fileSystem
    self.directory = directory
    self.limit = max(limit, 8)
    self.blockCache = blockCache
    self.epochs = epochs
    self.onObsolete = onObsolete
  }

  /// How many tables are open.
  var openCount: Int { lock.withLock { open.count } }

  /// The reader of a table, opened where it is not. The caller holds what it gets.
  ///
  /// - Throws: `.missingFile`, `.corruption`, `.tooManyFiles`, `.io`.
  func reader(of file: TableFile) throws(StoreError) -> TableReader {
    if let found = current(file) { return found }
    return try openReader(of: file)
  }

  private func current(_ file: TableFile) -> TableReader? {
    guard
      let reader = file.slot.reader.strong(
        in: epochs, stripe: ThreadStripe.current(of: EpochDomain.stripes))
    else { return nil }
    file.slot.noteUse()
    return reader
  }

  @inline(never)
  func openReader(of file: TableFile) throws(StoreError) -> TableReader {
    file.slot.opening.lock()
    defer { file.slot.opening.unlock() }
    if let found = current(file) { return found }
    try makeRoom()
    let metadata = file.metadata
    let path = directory.appending(FileNames.table(metadata.number))
    let handle = try doing("open a table") { () throws(FileSystemError) in
      try fileSystem.open(path, .read)
    }
    let reader = try TableReader.open(
      file: handle, number: metadata.number, expecting: metadata.identity,
      byteSize: UInt64(metadata.byteCount), treeID: file.treeID, cache: blockCache)
    file.slot.reader.swap(reader, retiringIn: epochs)
    file.slot.noteUse()
    lock.withLock { open.append(file.slot) }
    return reader
  }

  private func makeRoom() throws(StoreError) {
    while true {
      let victim: ReaderSlot? = lock.withLock {
        guard open.count >= limit else { return nil }
        // Two rounds: the first may clear every mark.
        for _ in 0..<(2 * open.count) {
          if hand >= open.count { hand = 0 }
          if open[hand].takeUse() {
            hand += 1
          } else {
            open.swapAt(hand, open.count - 1)
            return open.removeLast()
          }
        }
        return nil
      }
      guard let victim else { return }
      victim.reader.swap(nil, retiringIn: epochs)
      epochs.reclaim()
    }
  }

  /// Called when nobody holds the file any more.
  func forget(_ slot: ReaderSlot, _ number: UInt64, remove: Bool) {
    lock.withLock {
      if let index = open.firstIndex(where: { $0 === slot }) {
        open.swapAt(index, open.count - 1)
        open.removeLast()
      }
      if remove { obsolete.append(number) }
    }
    if remove {
      hasObsolete.store(true, ordering: .releasing)
      onObsolete()
    }
  }

  /// Numbers of tables that nobody uses and nothing durable names.
  func takeObsolete() -> [UInt64] {
    guard hasObsolete.exchange(false, ordering: .acquiringAndReleasing) else { return [] }
    return lock.withLock {
      defer { obsolete = [] }
      return obsolete
    }
  }
}
