import Glibc

/// The processes of a run. What is started here does not outlive it: ``end()`` ends all, and where this
/// process itself is killed, a guardian kills them: a shell that reads their numbers from a pipe, whose end
/// it meets when this process is gone.
///
/// Used by one task at a time.
final class Processes: @unchecked Sendable {
  private let scratch: String
  private var running: [ServerProcess] = []
  private var guardian: pid_t = 0
  /// The pipe to the guardian.
  private var leash: Int32 = -1

  private static let guarding = """
    trap '' INT TERM HUP
    all=' '
    while read -r sign pid; do
      case $sign in
        +) all="$all$pid " ;;
        -) all="${all%% $pid *} ${all#* $pid }" ;;
      esac
    done
    for pid in $all; do kill -KILL "$pid" 2>/dev/null; done
    """

  /// - Parameter scratch: where files of commands go.
  init(scratch: String) throws {
    self.scratch = scratch
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else {
      throw BenchmarkError("could not make a pipe: \(String(cString: strerror(errno)))")
    }
    // No child may hold the end that this process holds.
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { close(ends[0]) }
    leash = ends[1]
    guardian = try spawn("/bin/sh", ["-c", Self.guarding], input: ends[0], output: "/dev/null", errors: nil)
  }

  private func tell(_ sign: String, _ process: pid_t) {
    let line = Array("\(sign) \(process)\n".utf8)
    _ = write(leash, line, line.count)
  }

  /// Starts a server.
  ///
  /// - Parameters:
  ///   - name: for messages.
  ///   - executable: a path, or a name that is looked for as a shell does.
  ///   - output: the file that takes what it says.
  func start(
    _ name: String, _ executable: String, _ arguments: [String], output: String
  ) throws -> ServerProcess {
    let process = ServerProcess(
      name: name, id: try spawn(executable, arguments, input: nil, output: output, errors: nil),
      output: output)
    running.append(process)
    tell("+", process.id)
    return process
  }

  /// Ends some processes: asks them to, and kills those that have not ended after ten seconds.
  func end(_ processes: [ServerProcess], by signal: Int32 = SIGTERM) {
    for process in processes where !process.hasEnded { kill(process.id, signal) }
    let deadline = monotonicNanoseconds() + 10_000_000_000
    for process in processes {
      while !process.hasEnded {
        if monotonicNanoseconds() > deadline { kill(process.id, SIGKILL) }
        usleep(5_000)
      }
      tell("-", process.id)
      running.removeAll { $0 === process }
    }
  }

  /// Ends all servers that run.
  func endServers() { end(running) }

  /// Ends all servers, and the guardian: nothing can be started after it.
  func end() {
    endServers()
    guard leash >= 0 else { return }
    close(leash)
    leash = -1
    var status: Int32 = 0
    while waitpid(guardian, &status, 0) < 0 && errno == EINTR {}
  }

  /// Runs a command to its end, at most so many seconds.
  ///
  /// - Returns: what it wrote to standard output.
  /// - Throws: where it cannot be started, fails, or takes longer: it is killed then.
  func run(_ executable: String, _ arguments: [String], seconds: Double = 30) throws -> String {
    let output = "\(scratch)/command.out"
    let errors = "\(scratch)/command.err"
    let process = ServerProcess(
      name: executable, id: try spawn(executable, arguments, input: nil, output: output, errors: errors),
      output: errors)
    tell("+", process.id)
    defer {
      tell("-", process.id)
      unlink(output)
      unlink(errors)
    }
    let deadline = monotonicNanoseconds() + UInt64(seconds * 1e9)
    while !process.hasEnded {
      if monotonicNanoseconds() > deadline {
        kill(process.id, SIGKILL)
        while !process.hasEnded { usleep(1_000) }
        throw BenchmarkError("`\(executable) \(arguments.joined(separator: " "))` took over \(seconds) s")
      }
      usleep(1_000)
    }
    guard process.status == 0 else {
      throw BenchmarkError(
        "`\(executable) \(arguments.joined(separator: " "))` failed: \(process.lastWords())")
    }
    return contents(output)
  }

  /// Waits until `condition` holds, looking every 20 ms.
  ///
  /// - Throws: where it does not in so many seconds, or one of the processes has ended.
  func wait(
    for what: String, _ processes: [ServerProcess], seconds: Double = 60, _ condition: () throws -> Bool
  ) throws {
    let deadline = monotonicNanoseconds() + UInt64(seconds * 1e9)
    while try !condition() {
      if let ended = processes.first(where: \.hasEnded) {
        throw BenchmarkError("\(ended.name) ended by itself: \(ended.lastWords())")
      }
      guard monotonicNanoseconds() < deadline else {
        let words = processes.map { "\($0.name): \($0.lastWords())" }.joined(separator: "; ")
        throw BenchmarkError("\(what) did not come in \(fixed(seconds, 0)) s; \(words)")
      }
      usleep(20_000)
    }
  }
}

/// A process that was started. Used by one task at a time.
final class ServerProcess: @unchecked Sendable {
  let name: String
  let id: pid_t
  /// The file that takes what it says.
  let output: String
  /// As the kernel has it; `nil` while it runs.
  private(set) var status: Int32?

  fileprivate init(name: String, id: pid_t, output: String) {
    self.name = name
    self.id = id
    self.output = output
  }

  var hasEnded: Bool {
    if status != nil { return true }
    var status: Int32 = 0
    if waitpid(id, &status, WNOHANG) == id { self.status = status }
    return self.status != nil
  }

  /// The end of what it has said, for messages.
  func lastWords() -> String {
    let lines = contents(output).split(separator: "\n").suffix(3).joined(separator: " / ")
    return lines.isEmpty ? "it said nothing" : lines
  }

  /// What it has used so far; nothing, once it has ended.
  var usage: (cpuSeconds: Double, bytesWritten: UInt64) { processUsage(id) }
}

/// Starts a program with the signals that it would have from a shell.
private func spawn(
  _ executable: String, _ arguments: [String], input: Int32?, output: String, errors: String?
) throws -> pid_t {
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  if let input {
    posix_spawn_file_actions_adddup2(&actions, input, 0)
  } else {
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
  }
  posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
  if let errors {
    posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
  } else {
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
  }
  // The parent ignores some, to clean up; the child must not inherit that.
  var attributes = posix_spawnattr_t()
  posix_spawnattr_init(&attributes)
  defer { posix_spawnattr_destroy(&attributes) }
  var signals = sigset_t()
  sigemptyset(&signals)
  for signal in [SIGINT, SIGTERM, SIGPIPE] { sigaddset(&signals, signal) }
  posix_spawnattr_setsigdefault(&attributes, &signals)
  posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))
  var words = ([executable] + arguments).map { $0.withCString { strdup($0) } } + [nil]
  defer { for word in words { free(word) } }
  var process = pid_t()
  let code = posix_spawnp(&process, executable, &actions, &attributes, &words, environ)
  guard code == 0 else {
    throw BenchmarkError("could not start `\(executable)`: \(String(cString: strerror(code)))")
  }
  return process
}
