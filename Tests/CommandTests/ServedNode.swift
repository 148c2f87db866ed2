import Foundation
import Testing

/// A node of a cluster in a process of its own: `roost serve` on loopback, any free port. It ends with the
/// test's own process, however that ends.
/// Thread-safe.
final class ServedNode: @unchecked Sendable {
  /// A test that waited so long for something has missed it: it ends instead of hanging.
  struct NeverCame: Error, CustomStringConvertible {
    var description: String
  }

  /// How long a test waits for what a node does.
  static let patience: TimeInterval = 300

  /// Becomes what stands behind it, and leaves a process that waits for the end of its standard input: nobody
  /// writes there, so it comes when the test closes it, or has ended.
  private static let guarded = """
    exec 3<&0
    (
      # What the test's process watches this one by must end with this one.
      for fd in /proc/$BASHPID/fd/*; do
        fd=${fd##*/}
        if [ "$fd" -gt 3 ]; then exec {fd}>&-; fi
      done
      cat <&3
      # Where it has ended already, its number may be another's.
      read -r _ _ _ parent _ </proc/$BASHPID/stat
      if [ "$parent" = $$ ]; then kill -KILL $$; fi
    ) >/dev/null 2>&1 &
    exec 3<&-
    exec "$@" </dev/null
    """

  private let process = Process()
  private let errorFile: String
  private let changed = NSCondition()
  // Guarded by `changed`.
  private var lines: [String] = []
  private var hasEnded = false

  /// Starts a node.
  ///
  /// - Parameters:
  ///   - store: the name of its directory in the test's own.
  ///   - tls: the flags that say how connections are secured.
  ///   - host: where it runs; this machine, on loopback, where `nil`.
  ///   - isPatient: whether it waits for nodes that are only slow: for tests that are not about those.
  ///   - options: beside what all nodes of a test say.
  init(
    _ roost: Roost, _ store: String, cluster: String = "music", nodes: Int = 3, tls: [String] = ["--plain"],
    on host: NetworkHosts.Host? = nil, isPatient: Bool = false, _ options: String...
  ) throws {
    errorFile = roost.path("\(store)-\(UUID().uuidString).err")
    try Data().write(to: URL(fileURLWithPath: errorFile))
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments =
      ["-c", Self.guarded, "bash"] + (host?.prefix ?? [])
      + [
        Roost.executable, "serve", roost.path(store), "--cluster", cluster, "--listen",
        "\(host?.address ?? "127.0.0.1"):0", "--directory", roost.path("directory"), "--founding-nodes",
        "\(nodes)", "--partitions", "16",
      ] + tls + (isPatient ? ["--replica-timeout", "60"] : []) + options
    let input = Pipe()
    process.standardInput = input
    process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: errorFile))
    let output = Pipe()
    process.standardOutput = output
    process.terminationHandler = { [weak self] _ in
      try? input.fileHandleForWriting.close()
      self?.change { $0.hasEnded = true }
    }
    try process.run()
    let reading = output.fileHandleForReading
    Thread.detachNewThread { [weak self] in
      var rest = Data()
      while true {
        let more = reading.availableData
        if more.isEmpty { return }
        rest.append(more)
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
          let line = String(decoding: rest[rest.startIndex..<end], as: UTF8.self)
          rest = Data(rest[(end + 1)...])
          self?.change { $0.lines.append(line) }
        }
      }
    }
  }

  private func change(_ body: (ServedNode) -> Void) {
    changed.lock()
    body(self)
    changed.broadcast()
    changed.unlock()
  }

  var errors: String { (try? String(contentsOfFile: errorFile, encoding: .utf8)) ?? "" }

  /// Waits for a line on standard output that begins so.
  func line(_ beginning: String) throws -> String {
    try wait("a line `\(beginning)`") { node in
      if let line = node.lines.first(where: { $0.hasPrefix(beginning) }) { return line }
      if node.hasEnded { throw NeverCame(description: "ended before `\(beginning)`: \(errors)") }
      return nil
    }
  }

  /// Where it listens, once it does.
  func address() throws -> String {
    let words = try line("listening at ").split(separator: " ")
    return String(try #require(words.dropFirst(2).first).dropLast())
  }

  /// Waits until the cluster is there.
  @discardableResult
  func ready() throws -> String { try line("ready: ") }

  func send(_ signal: Int32) { Foundation.kill(process.processIdentifier, signal) }

  /// Waits until it has ended.
  ///
  /// - Returns: its exit code; `nil` where a signal ended it.
  func ended() throws -> Int32? {
    try wait("its end") { $0.hasEnded ? true : nil }
    return process.terminationReason == .exit ? process.terminationStatus : nil
  }

  /// Ends it at once, whatever it is doing, and waits for that.
  func kill() {
    // A process that was waited for is another's number by and by.
    guard process.isRunning else { return }
    send(SIGKILL)
    _ = try? ended()
  }

  @discardableResult
  private func wait<R>(_ what: String, _ wish: (ServedNode) throws -> R?) throws -> R {
    let deadline = Date(timeIntervalSinceNow: Self.patience)
    changed.lock()
    defer { changed.unlock() }
    while true {
      if let result = try wish(self) { return result }
      guard changed.wait(until: deadline) else {
        throw NeverCame(description: "never came: \(what); but: \(lines), \(errors)")
      }
    }
  }
}
