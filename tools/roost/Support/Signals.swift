import Glibc
import Synchronization
import SystemPackage

/// Where a signal's handler writes to; -1 while nobody waits for any. A handler may do next to nothing: it
/// reads this word and writes a byte.
private let signalPipe = Atomic<Int32>(-1)

/// Signals, and other events of the process, in the order in which they came: a command that runs until it is
/// told to end waits for the next of them.
///
/// One a process at a time. ``post(_:)`` from any thread, the rest from one.
final class Signals: Sendable {
  private let readEnd: FileDescriptor
  private let writeEnd: FileDescriptor
  private let numbers: [Int32]

  /// From now on these signals do nothing but to be told by ``next()``.
  ///
  /// - Throws: ``Failure`` where the system refuses.
  init(_ numbers: [Int32]) throws {
    do { (readEnd, writeEnd) = try FileDescriptor.pipe() } catch let error as Errno {
      throw Failure(error, "make a pipe for", "signals")
    }
    self.numbers = numbers
    signalPipe.store(writeEnd.rawValue, ordering: .sequentiallyConsistent)
    // Whoever starts this process may have blocked them for its own thread, and passed that on.
    var heard = sigset_t()
    unsafe sigemptyset(&heard)
    for number in numbers { unsafe sigaddset(&heard, number) }
    unsafe pthread_sigmask(SIG_UNBLOCK, &heard, nil)
    for number in numbers {
      signal(number) { number in
        let saved = errno
        var byte = UInt8(truncatingIfNeeded: number)
        unsafe _ = Glibc.write(signalPipe.load(ordering: .sequentiallyConsistent), &byte, 1)
        errno = saved
      }
    }
  }

  /// Adds an event of this process's own, told as this number: 0, or one that is no signal's.
  func post(_ number: UInt8) { _ = try? writeEnd.writeAll([number]) }

  /// Waits for the next signal or event.
  ///
  /// - Throws: ``Failure`` where the system refuses.
  func next() throws -> Int32 {
    var byte: UInt8 = 0
    do {
      let count = unsafe try withUnsafeMutableBytes(of: &byte) { unsafe try readEnd.read(into: $0) }
      guard count == 1 else { throw Failure(.io, "nobody tells of signals any more") }
      return Int32(byte)
    } catch let error as Errno {
      throw Failure(error, "read from", "the pipe for signals")
    }
  }

  /// From now on the signals do again what they do by themselves: they end the process.
  func restore(ignoring ignored: Int32) {
    for number in numbers { signal(number, number == ignored ? SIG_IGN : SIG_DFL) }
  }
}
