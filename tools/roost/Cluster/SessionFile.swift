import Glibc
import RoostCluster
import SystemPackage

/// A session's token in a file, from one command to the next.
struct SessionFile {
  let path: String

  /// More than the token of a session has.
  private static let longest = 16 << 20

  /// The session in the file; a new one where there is no file.
  ///
  /// - Throws: ``Failure`` where the file cannot be read, or holds no session's token.
  func session() throws -> DatabaseSession {
    let capacity = DatabaseSession.defaultCapacity
    let token: [UInt8]
    do { token = try Input(path).read(Self.longest) } catch let failure as Failure {
      guard failure.status == .notFound else { throw failure }
      return DatabaseSession(try SessionMemory(capacity: capacity))
    }
    do throws(DatabaseError) {
      return DatabaseSession(try SessionMemory(token: token, capacity: capacity))
    } catch {
      throw Failure(error.code == .newerFormat ? .newerFormat : .badInput, "\(path): \(error.message)")
    }
  }

  /// Puts the session as it is now in the file's place: at any time the file is the old one or the new one.
  ///
  /// - Throws: ``Failure``.
  func replace(_ session: DatabaseSession) throws {
    // Of this process: two commands with one file do not write into each other's.
    let new = "\(path).\(getpid())"
    do {
      let file = try FileDescriptor.open(
        FilePath(new), .writeOnly, options: [.create, .truncate], permissions: .ownerReadWrite)
      try file.closeAfter {
        try file.writeAll(session.token)
        guard fsync(file.rawValue) == 0 else { throw Errno(rawValue: errno) }
      }
      guard unsafe rename(new, path) == 0 else { throw Errno(rawValue: errno) }
    } catch let error as Errno {
      _ = unsafe unlink(new)
      throw Failure(error, "write", path)
    }
  }
}
