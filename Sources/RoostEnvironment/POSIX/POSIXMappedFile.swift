import Glibc
import SystemPackage

/// A shared, writable mapping of the operating system.
///
/// Immutable; what it points to is shared with everyone who has the file, so its users agree among
/// themselves who writes where.
@safe
public final class POSIXMappedFile: MappedFile, @unchecked Sendable {
  public let base: UnsafeMutableRawPointer
  public let byteCount: Int

  init(
    _ path: FilePath, descriptor: Int32, byteCount: Int, faulting access: MappedAccess
  ) throws(FileSystemError) {
    let address = unsafe mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    guard let base = unsafe address, unsafe base != MAP_FAILED else {
      throw FileSystemError("mmap", path, errno: errno)
    }
    // Faults in every page now, so that a failing disk is an error here and not a signal later.
    // Touching the pages instead would raise just that signal, so a kernel that does not know the
    // advice (before 5.14, EINVAL) gets no mapping: callers fall back to calls.
    let advice = access == .reading ? Self.populateRead : Self.populateWrite
    do {
      _ = try systemCall("madvise", path) {
        unsafe madvise(base, byteCount, advice)
      }
    } catch {
      unsafe munmap(base, byteCount)
      throw error
    }
    unsafe self.base = unsafe base
    self.byteCount = byteCount
  }

  deinit { unsafe munmap(base, byteCount) }

  // `MADV_POPULATE_READ` and `MADV_POPULATE_WRITE`, which older C libraries do not name.
  private static let populateRead: Int32 = 22
  private static let populateWrite: Int32 = 23
}
