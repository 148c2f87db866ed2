import RoostEnvironment
import Synchronization

/// A bump allocator: hands out pieces of large chunks and frees them all at once when it goes.
///
/// Invariants:
/// - What it handed out stays where it is, at a multiple of 8, until the arena goes.
/// - `charge` has grown by the size of every chunk, not only by what of it is in use: the memory
///   budget counts what the process took from the system.
///
/// A chunk as large as a large page is one, where the system has them: what is reached all over, as an
/// index is, then costs far fewer misses of address translations, and fewer page faults to fill. Such
/// chunks come from a pool, where there is one, and go back to it.
///
/// One thread allocates. Others may read what it published to them, and `charge` at any time.
@safe
struct Arena: ~Copyable {
  /// Chunks begin with the one before and their own size; a whole cache line, so that pieces of a
  /// multiple of 64 bytes stay aligned to lines.
  private static let headerBytes = 64

  private var next: UnsafeMutableRawPointer
  private var left = 0
  private var newestChunk: UnsafeMutableRawPointer?
  private var chunkBytes: Int
  private let largestChunkBytes: Int
  private let charge: UnsafeMutablePointer<Atomic<Int>>
  private let pages: LargePagePool?

  /// An arena of no chunks yet. `charge` must outlive it.
  init(
    firstChunkBytes: Int, largestChunkBytes: Int, charge: UnsafeMutablePointer<Atomic<Int>>,
    pages: LargePagePool? = nil
  ) {
    precondition(firstChunkBytes > Arena.headerBytes && largestChunkBytes >= firstChunkBytes)
    // Nothing is left there, so nothing is handed out before there is a chunk.
    unsafe next = UnsafeMutableRawPointer(charge)
    chunkBytes = firstChunkBytes
    self.largestChunkBytes = largestChunkBytes
    unsafe self.charge = charge
    self.pages = pages
  }

  deinit {
    var chunk = unsafe newestChunk
    while let this = unsafe chunk {
      unsafe chunk = this.load(as: UnsafeMutableRawPointer?.self)
      if let pages, unsafe this.load(fromByteOffset: 8, as: Int.self) == LargePages.byteCount {
        unsafe pages.give(this)
      } else {
        unsafe this.deallocate()
      }
    }
  }

  /// `byteCount` bytes of memory, not zeroed. O(1).
  @inline(__always)
  mutating func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer {
    let rounded = (byteCount &+ 7) & ~7
    if rounded > left { return unsafe allocateFromNewChunk(rounded) }
    let piece = unsafe next
    unsafe next = piece + rounded
    left &-= rounded
    return unsafe piece
  }

  @inline(never)
  private mutating func allocateFromNewChunk(_ byteCount: Int) -> UnsafeMutableRawPointer {
    // A piece that would waste much of a chunk gets one of its own; the current chunk stays in use.
    if byteCount > largestChunkBytes / 4 {
      return unsafe addChunk(byteCount + Arena.headerBytes) + Arena.headerBytes
    }
    while byteCount > chunkBytes / 4 { chunkBytes *= 2 }
    chunkBytes = min(chunkBytes, largestChunkBytes)
    let chunk = unsafe addChunk(chunkBytes)
    unsafe next = chunk + Arena.headerBytes
    left = chunkBytes - Arena.headerBytes
    chunkBytes = min(chunkBytes * 2, largestChunkBytes)
    return unsafe allocate(byteCount)
  }

  private mutating func addChunk(_ byteCount: Int) -> UnsafeMutableRawPointer {
    let chunk: UnsafeMutableRawPointer
    if byteCount != LargePages.byteCount {
      unsafe chunk = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
    } else if let pages {
      unsafe chunk = pages.take()
    } else {
      unsafe chunk = LargePages.allocate(byteCount: byteCount)
    }
    unsafe chunk.storeBytes(of: newestChunk, as: UnsafeMutableRawPointer?.self)
    unsafe chunk.storeBytes(of: byteCount, toByteOffset: 8, as: Int.self)
    unsafe newestChunk = chunk
    unsafe charge.pointee.wrappingAdd(byteCount, ordering: .relaxed)
    return unsafe chunk
  }
}
