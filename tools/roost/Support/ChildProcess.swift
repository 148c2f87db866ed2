import Glibc
import SystemPackage

/// Another process of this same program, whose standard output is read here. Used by one thread.
final class ChildProcess {
  let output: Input
  private let processID: pid_t
  private var isOver = false

  /// - Throws: ``Failure`` where the system refuses.
  init(_ arguments: [String]) throws {
    let pipe: (readEnd: FileDescriptor, writeEnd: FileDescriptor)
    do { pipe = try FileDescriptor.pipe() } catch let error as Errno {
      throw Failure(error, "make a pipe to", "a child process")
    }
    defer { try? pipe.writeEnd.close() }
    output = Input(pipe.readEnd, "the child's output")
    processID = try Self.spawn(["roost"] + arguments, output: pipe.writeEnd, close: pipe.readEnd)
  }

  deinit { if !isOver { kill() } }

  /// Ends the process at once, whatever it is doing: SIGKILL.
  func kill() {
    _ = Glibc.kill(processID, SIGKILL)
    wait()
  }

  /// Waits until it has ended by itself.
  ///
  /// - Returns: the signal that ended it; 0 where none did.
  @discardableResult
  func wait() -> Int32 {
    var status: Int32 = 0
    while unsafe waitpid(processID, &status, 0) < 0, errno == EINTR {}
    isOver = true
    return status & 0x7F
  }

  private static func spawn(
    _ arguments: [String], output: FileDescriptor, close: FileDescriptor
  ) throws -> pid_t {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_adddup2(&actions, output.rawValue, STDOUT_FILENO)
    unsafe posix_spawn_file_actions_addclose(&actions, close.rawValue)
    var pointers: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) }
    unsafe pointers.append(nil)
    defer { for i in 0..<arguments.count { unsafe free(pointers[i]) } }
    var processID: pid_t = 0
    let result = unsafe posix_spawn(&processID, "/proc/self/exe", &actions, nil, pointers, environ)
    guard result == 0 else {
      throw Failure(Errno(rawValue: result), "start", "a child process")
    }
    return processID
  }
}
