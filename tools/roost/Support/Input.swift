import Glibc
import SystemPackage

/// Standard input or a file, through a buffer, by lines or by bytes. Used by one thread.
final class Input {
  /// As errors name it.
  let name: String
  /// Bytes given out so far.
  private(set) var offset: Int64 = 0
  /// Bytes there are in all, where that is known.
  let byteCount: Int64?

  private let descriptor: FileDescriptor
  private let isOwned: Bool
  private var buffer: [UInt8]
  /// The part of `buffer` that was read and not given out.
  private var start = 0
  private var end = 0
  private var isAtEnd = false

  /// - Parameter path: a file; standard input where `nil` or `-`.
  /// - Throws: ``Failure``.
  init(_ path: String?, bufferBytes: Int = 256 << 10) throws {
    buffer = [UInt8](repeating: 0, count: bufferBytes)
    if let path, path != "-" {
      name = path
      isOwned = true
      do { descriptor = unsafe try FileDescriptor.open(path, .readOnly) } catch let error as Errno {
        throw Failure(error, "open", path)
      }
      let size = (try? descriptor.seek(offset: 0, from: .end)) ?? -1
      if size >= 0 { _ = try? descriptor.seek(offset: 0, from: .start) }
      byteCount = size >= 0 ? size : nil
    } else {
      name = "standard input"
      isOwned = false
      descriptor = .standardInput
      byteCount = nil
    }
  }

  /// Reads what another process writes. Closes the descriptor when released.
  init(_ descriptor: FileDescriptor, _ name: String) {
    buffer = [UInt8](repeating: 0, count: 64 << 10)
    self.name = name
    self.descriptor = descriptor
    isOwned = true
    byteCount = nil
  }

  deinit { if isOwned { try? descriptor.close() } }

  /// The next line without its newline; `nil` at the end. The last line may lack the newline.
  func readLine() throws -> [UInt8]? {
    var searched = 0
    while true {
      if let length = newline(from: start + searched).map({ $0 - start }) {
        defer { skip(length + 1) }
        return Array(buffer[start..<(start + length)])
      }
      searched = end - start
      if try !fill() {
        guard searched > 0 else { return nil }
        defer { skip(searched) }
        return Array(buffer[start..<end])
      }
    }
  }

  /// The next `count` bytes, or as many as there are.
  func read(_ count: Int) throws -> [UInt8] {
    var result: [UInt8] = []
    // Not reserved whole: a damaged length is no reason to ask for the memory.
    while result.count < count {
      if start == end, try !fill() { break }
      let part = min(count - result.count, end - start)
      result.append(contentsOf: buffer[start..<(start + part)])
      skip(part)
    }
    return result
  }

  /// All that is left.
  func readAll() throws -> [UInt8] { try read(.max) }

  private func skip(_ count: Int) {
    start += min(count, end - start)
    offset += Int64(count)
  }

  private func newline(from index: Int) -> Int? {
    let count = end - index
    guard count > 0 else { return nil }
    return unsafe buffer.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress, let found = unsafe memchr(base + index, 10, count) else {
        return nil
      }
      return unsafe UnsafeRawPointer(found) - base
    }
  }

  /// Reads more behind what is there. Returns `false` at the end.
  private func fill() throws -> Bool {
    if isAtEnd { return false }
    if start > 0 {
      buffer.replaceSubrange(0..<(end - start), with: Array(buffer[start..<end]))
      end -= start
      start = 0
    }
    if end == buffer.count { buffer.append(contentsOf: repeatElement(0, count: buffer.count)) }
    do {
      let count = unsafe try buffer.withUnsafeMutableBytes { bytes in
        unsafe try descriptor.read(into: UnsafeMutableRawBufferPointer(rebasing: bytes[end...]))
      }
      end += count
      isAtEnd = count == 0
      return count > 0
    } catch let error as Errno {
      throw Failure(error, "read", name)
    }
  }
}
