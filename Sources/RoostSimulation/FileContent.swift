import RoostEnvironment

/// What one file holds: in memory (the page cache) and on disk, apart.
///
/// Four images of the same file, the first two always there:
///
/// - `data`, `size`: what reads see and writes change.
/// - `disk`, `diskSize`: what is left when nothing unsynced survives.
/// - `clean`, `cleanSize`: what the cache believes is on disk. Stored only after a failed sync,
///   which makes it differ from the disk: the pages count as clean, so that a later sync succeeds
///   and does not write them. Linux does so.
///
/// A sector is unsynced where `data` differs from `clean` (else from `disk`). Writes note the range
/// they touch, so that a sync need not compare the whole file; what is mapped may change unseen, so
/// that range is always compared.
///
/// The images share storage while they are equal; a file that was synced costs a clone nothing.
/// Invariant: every image is zero from its size on. Guarded by the file system's lock.
struct FileContent {
  private(set) var data = PageStorage(0)
  private(set) var size = 0
  private(set) var disk: PageStorage
  private(set) var diskSize = 0
  private var clean: PageStorage?
  private var cleanSize = 0
  /// Where `data` may differ from the reference, apart from what is mapped.
  private var touched = 0..<0
  /// How many leading bytes were mapped at some time since the last sync.
  private var mappedCount = 0
  private var mappings = 0

  init() { disk = data }

  /// A file that was wholly synced.
  private init(synced storage: PageStorage, size: Int) {
    // The zeros at the end of a disk image need not be stored.
    data =
      storage.capacity >= size
      ? storage : PageStorage(size, copying: storage, count: storage.capacity)
    disk = data
    self.size = size
    diskSize = size
  }

  // MARK: Reading and writing

  func read(into buffer: inout MutableRawSpan, count: Int, at offset: Int) {
    data.read(into: &buffer, count: count, at: offset)
  }

  /// Writes the first `count` bytes of `bytes`. Returns `false` where the file would have to move
  /// in memory while it is mapped.
  mutating func write(_ bytes: RawSpan, count: Int, at offset: Int) -> Bool {
    guard makeWritable(offset + count) else { return false }
    redirty(offset..<(offset + count))
    data.write(bytes, count: count, at: offset)
    touch(offset..<(offset + count))
    size = max(size, offset + count)
    return true
  }

  mutating func resize(to newSize: Int) -> Bool {
    guard makeWritable(newSize) else { return false }
    if newSize < size {
      redirty(newSize..<size)
      data.zero(newSize..<size)
      touch(newSize..<size)
    }
    size = newSize
    return true
  }

  mutating func map(_ byteCount: Int) -> PageStorage {
    _ = makeWritable(size)
    mappings += 1
    mappedCount = max(mappedCount, byteCount)
    return data
  }

  mutating func unmap() { mappings -= 1 }

  var isMapped: Bool { mappings > 0 }

  /// Makes `data` this file's own, with room for `byteCount` bytes.
  private mutating func makeWritable(_ byteCount: Int) -> Bool {
    // A mapping holds the storage too; it is this file's.
    if isMapped { return byteCount <= data.capacity }
    if byteCount > data.capacity {
      data = PageStorage(max(byteCount, data.capacity * 2), copying: data, count: size)
    } else if !isKnownUniquelyReferenced(&data) {
      data = PageStorage(max(byteCount, size), copying: data, count: size)
    }
    return true
  }

  private mutating func touch(_ range: Range<Int>) {
    if range.isEmpty { return }
    touched =
      touched.isEmpty
      ? range
      : min(touched.lowerBound, range.lowerBound)..<max(touched.upperBound, range.upperBound)
  }

  /// Writing to a sector that a failed sync lost makes all of it unsynced again.
  private mutating func redirty(_ range: Range<Int>) {
    guard var image = clean, !range.isEmpty else { return }
    clean = nil
    if !isKnownUniquelyReferenced(&image) || image.capacity < range.upperBound {
      image = PageStorage(
        max(range.upperBound, image.capacity), copying: image, count: image.capacity)
    }
    let first = range.lowerBound / PageStorage.sectorSize * PageStorage.sectorSize
    let end = (range.upperBound + PageStorage.sectorSize - 1) / PageStorage.sectorSize
    image.copy(first..<(end * PageStorage.sectorSize), from: disk)
    clean = image
  }

  // MARK: Syncing

  /// The sectors that a sync would write.
  private func unsyncedSectors() -> [Int] {
    let reference = clean ?? disk
    if data === reference { return [] }
    var sectors: [Int] = []
    let mapped = 0..<mappedCount
    let low = touched.isEmpty ? 0 : mapped.isEmpty ? touched.lowerBound : 0
    let high = max(touched.upperBound, mapped.upperBound)
    let range =
      low / PageStorage.sectorSize..<(high + PageStorage.sectorSize - 1) / PageStorage.sectorSize
    for sector in range where !data.sector(sector, equals: reference) { sectors.append(sector) }
    return sectors
  }

  var isSynced: Bool { clean == nil && size == diskSize && unsyncedSectors().isEmpty }

  /// Brings the disk up to date. Returns how many bytes that wrote.
  mutating func sync() -> Int {
    let sectors = unsyncedSectors()
    if clean == nil, !isMapped, sectors.count * PageStorage.sectorSize * 2 >= size {
      disk = data
      diskSize = size
    } else {
      Self.copy(sectors, from: data, to: &disk)
      if clean == nil {
        diskSize = size
      } else {
        Self.copy(sectors, from: data, to: &clean!)
        // A size that the failed sync lost is not written either, until it changes.
        if size != cleanSize {
          diskSize = size
          cleanSize = size
        }
        Self.zeroTail(of: &disk, from: diskSize)
      }
    }
    markClean()
    return sectors.count * PageStorage.sectorSize
  }

  /// Forgets what was unsynced without writing it.
  mutating func failSync() {
    if clean == nil, isSynced { return }
    clean = isMapped ? PageStorage(size, copying: data, count: size) : data
    cleanSize = size
    markClean()
  }

  private mutating func markClean() {
    touched = 0..<0
    if !isMapped { mappedCount = 0 }
  }

  private static func copy(_ sectors: [Int], from source: PageStorage, to image: inout PageStorage)
  {
    guard let last = sectors.last else { return }
    let byteCount = max(image.capacity, (last + 1) * PageStorage.sectorSize)
    if !isKnownUniquelyReferenced(&image) || image.capacity < byteCount {
      // Grows as an appended file does, so that not every sync copies it.
      let room = image.capacity < byteCount ? max(byteCount, source.capacity) : byteCount
      image = PageStorage(room, copying: image, count: image.capacity)
    }
    for sector in sectors { image.copy(byteRange(sector), from: source) }
  }

  private static func zeroTail(of image: inout PageStorage, from size: Int) {
    guard size < image.capacity else { return }
    if !isKnownUniquelyReferenced(&image) {
      image = PageStorage(image.capacity, copying: image, count: size)
    } else {
      image.zero(size..<image.capacity)
    }
  }

  private static func byteRange(_ sector: Int) -> Range<Int> {
    sector * PageStorage.sectorSize..<(sector + 1) * PageStorage.sectorSize
  }

  // MARK: Clones

  /// The same file, cache and disk apart as here, mapped by nobody.
  func copy() -> FileContent {
    var copy = self
    copy.mappings = 0
    if isMapped { copy.data = PageStorage(size, copying: data, count: size) }
    return copy
  }

  /// The file as the disk may hold it after a power loss.
  func crashed(_ policy: CrashPolicy, _ random: inout SplitMix64) -> FileContent {
    let sectors = unsyncedSectors()
    let sizes = cleanSizes
    if sectors.isEmpty && sizes.low == sizes.high || policy == .dropAll {
      return FileContent(synced: disk, size: diskSize)
    }
    if policy == .keepAll, clean == nil, !isMapped {
      return FileContent(synced: data, size: size)
    }
    let image = PageStorage(max(size, diskSize), copying: disk, count: diskSize)
    let pattern = policy == .keepAll ? Pattern.keep : Pattern(rawValue: random.below(4))!
    let boundary = random.below(sectors.count + 1)
    for (i, sector) in sectors.enumerated() where sector * PageStorage.sectorSize < image.capacity {
      let fate: Fate =
        switch pattern {
        case .keep: .keep
        case .drop: .drop
        case .scatter: Fate(rawValue: random.below(3))!
        case .prefix: i < boundary ? .keep : i == boundary ? .tear : .drop
        }
      let range = Self.byteRange(sector)
      switch fate {
      case .drop: break
      case .keep: image.copy(range, from: data)
      case .tear:
        let cut = range.lowerBound + 1 + random.below(PageStorage.sectorSize - 1)
        image.copy(range.lowerBound..<cut, from: data)
      }
    }
    let crashedSize: Int
    if policy == .keepAll {
      crashedSize = sizes.high == sizes.low ? diskSize : size
    } else {
      crashedSize =
        switch random.below(3) {
        case 0: diskSize
        case 1: sizes.low == sizes.high ? diskSize : size
        default: sizes.low + random.below(sizes.high - sizes.low + 1)
        }
    }
    image.zero(crashedSize..<max(crashedSize, image.capacity))
    return FileContent(synced: image, size: crashedSize)
  }

  /// Between which sizes the file may end on disk: one only, where no change of size is unsynced.
  private var cleanSizes: (low: Int, high: Int) {
    let isUnsynced = clean == nil ? size != diskSize : size != cleanSize
    return isUnsynced ? (min(size, diskSize), max(size, diskSize)) : (diskSize, diskSize)
  }

  /// What becomes of the unsynced sectors of one file. Independent fates alone would hardly ever
  /// leave a long file whole but for its end.
  private enum Pattern: Int { case keep, drop, scatter, prefix }
  private enum Fate: Int { case drop, keep, tear }
}

extension SplitMix64 {
  /// A number from 0 up to `bound`, which is left out. The bias is of no matter here.
  mutating func below(_ bound: Int) -> Int {
    bound <= 1 ? 0 : Int(truncatingIfNeeded: next() >> 1) % bound
  }
}
