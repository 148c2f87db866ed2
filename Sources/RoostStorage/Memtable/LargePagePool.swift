import RoostEnvironment

/// Large pages that memtables gave back, kept for the next ones.
///
/// A page from the system is cleared first, and in a virtual machine may have to come from the host: filled
/// memtables one after the other would spend much of a write's time on that. Bounded; what is beyond the
/// limit goes back to the system. Thread-safe.
@safe
final class LargePagePool: @unchecked Sendable {
  private let limit: Int
  private let lock = Lock()
  // Guarded by `lock`.
  private var pages: [UnsafeMutableRawPointer] = unsafe []

  /// - Parameter limit: how many pages are kept at most.
  init(limit: Int) {
    self.limit = limit
    unsafe pages.reserveCapacity(limit)
  }

  deinit {
    for unsafe page in unsafe pages { unsafe page.deallocate() }
  }

  /// A page, with anything in it.
  func take() -> UnsafeMutableRawPointer {
    if let page = unsafe lock.withLock({ unsafe pages.popLast() }) { return unsafe page }
    return unsafe LargePages.allocate(byteCount: LargePages.byteCount)
  }

  /// Takes a page back that ``take()`` gave.
  func give(_ page: UnsafeMutableRawPointer) {
    let isKept = lock.withLock {
      if unsafe pages.count >= limit { return false }
      unsafe pages.append(page)
      return true
    }
    if !isKept { unsafe page.deallocate() }
  }

  /// Gives all of them back to the system.
  func drain() {
    let unused = unsafe lock.withLock {
      defer { unsafe pages.removeAll(keepingCapacity: true) }
      return unsafe pages
    }
    for unsafe page in unsafe unused { unsafe page.deallocate() }
  }

  /// How many pages wait to be used again.
  var count: Int { lock.withLock { unsafe pages.count } }
}
