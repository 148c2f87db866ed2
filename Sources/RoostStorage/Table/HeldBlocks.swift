import Synchronization

/// The filters and index partitions of one table that its reader holds itself, from their first use on:
/// each lookup asks for them, and then finds them without the cache's locks and without a retain.
///
/// Named by where their entry stands in the top index. What is held counts against the cache's capacity
/// (``BlockCache/hold(_:_:_:)``); what the cache does not let the reader hold goes through it, like data
/// blocks. Thread-safe: a slot is written once.
@safe
struct HeldBlocks: ~Copyable, @unchecked Sendable {
  enum Kind: Int {
    case filter = 0
    case partition = 1
  }

  /// Two for every four bytes of entries. An entry is longer, with two lengths, a handle or two and a key;
  /// so no two share one.
  private let slots: UnsafeMutablePointer<Atomic<UInt>>
  private let count: Int
  private static let entryBytes = 4

  init(topIndex: borrowing Block) {
    count = 2 * (topIndex.entriesEnd / Self.entryBytes + 1)
    unsafe slots = .allocate(capacity: count)
    for index in 0..<count { unsafe (slots + index).initialize(to: Atomic(0)) }
  }

  deinit {
    for index in 0..<count {
      unsafe block(slots[index].load(ordering: .acquiring))?.release()
    }
    unsafe slots.deallocate()
  }

  @inline(__always)
  private func block(_ word: UInt) -> Unmanaged<Block>? {
    guard let address = unsafe UnsafeRawPointer(bitPattern: word) else { return nil }
    return unsafe Unmanaged.fromOpaque(address)
  }

  @inline(__always)
  private func index(_ entry: Int, _ kind: Kind) -> Int {
    let index = 2 &* (entry / Self.entryBytes) &+ kind.rawValue
    precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
    return index
  }

  /// The block, where it is held; valid as long as the table's reader.
  @inline(__always)
  func find(_ entry: Int, _ kind: Kind) -> Unmanaged<Block>? {
    unsafe block(slots[index(entry, kind)].load(ordering: .acquiring))
  }

  /// Holds a block from now on.
  ///
  /// - Returns: `false` where another thread came first.
  func keep(_ new: Block, _ entry: Int, _ kind: Kind) -> Bool {
    let word = unsafe UInt(bitPattern: Unmanaged.passUnretained(new).toOpaque())
    let isKept = unsafe slots[index(entry, kind)].compareExchange(
      expected: 0, desired: word, successOrdering: .acquiringAndReleasing,
      failureOrdering: .acquiring
    ).exchanged
    if isKept { unsafe _ = Unmanaged.passUnretained(new).retain() }
    return isKept
  }

  /// Everything that is held.
  func forEach(_ body: (Block) -> Void) {
    for index in 0..<count {
      if let block = unsafe block(slots[index].load(ordering: .acquiring)) {
        body(unsafe block.takeUnretainedValue())
      }
    }
  }
}
