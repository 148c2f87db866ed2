import Glibc

/// Memory that the system keeps in large pages where it can: what is reached all over costs it far fewer
/// translations of addresses, and a fault for 2 MiB instead of for 4 KiB.
public enum LargePages {
  /// What a page holds.
  public static let byteCount = 2 << 20

  /// Uninitialized memory of whole pages. Freed with `deallocate()`.
  ///
  /// - Parameter byteCount: a multiple of ``byteCount``.
  public static func allocate(byteCount: Int) -> UnsafeMutableRawPointer {
    precondition(byteCount > 0 && byteCount % Self.byteCount == 0)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: Self.byteCount)
    // Advice: where the system does not take it, the memory is as any other.
    _ = unsafe madvise(memory, byteCount, MADV_HUGEPAGE)
    return unsafe memory
  }
}
