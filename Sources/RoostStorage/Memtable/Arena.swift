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
/// index is, then costs far fewer misses of address translations, and fewer page faults to fill.
///
/// One thread allocates. Others may read what it published to them, and `charge` at any time.
@safe
struct Arena: ~Copyable {
  /// Chunks are linked through this many bytes at their start; a whole cache line, so that pieces
  /// of a multiple of 64 bytes stay aligned to lines.
  private static let headerBytes = 64

  private var next: UnsafeMutableRawPointer
  private var left = 0
  private var newestChunk: UnsafeMutableRawPointer?
  private var chunkBytes: Int
  private let largestChunkBytes: Int
  private let charge: UnsafeMutablePointer<Atomic<Int>>

  /// An arena of no chunks yet. `charge` must outlive it.
  init(
    firstChunkBytes: Int, largestChunkBytes: Int, charge: UnsafeMutablePointer<Atomic<Int>>
  ) {
    precondition(firstChunkBytes > Arena.headerBytes && largestChunkBytes >= firstChunkBytes)
    // Nothing is left there, so nothing is handed out before there is a chunk.
    unsafe next = UnsafeMutableRawPointer(charge)
    chunkBytes = firstChunkBytes
    self.largestChunkBytes = largestChunkBytes
    unsafe self.charge = charge
  }

  deinit {
    var chunk = unsafe newestChunk
    while let this = unsafe chunk {
      unsafe chunk = this.load(as: UnsafeMutableRawPointer?.self)
      unsafe this.deallocate()
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
    let isPage = byteCount == LargePages.byteCount
    let chunk = unsafe isPage
      ? LargePages.allocate(byteCount: byteCount)
      : UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
    unsafe chunk.storeBytes(of: newestChunk, as: UnsafeMutableRawPointer?.self)
    unsafe newestChunk = chunk
    unsafe charge.pointee.wrappingAdd(byteCount, ordering: .relaxed)
    return unsafe chunk
  }
}
