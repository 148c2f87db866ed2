import FoundationEssentials
import Glibc

/// One child process: one engine, one group of workloads. It writes its measurements to standard output as
/// lines of JSON, and leaves with a code other than 0 where anything failed.
struct ChildTask: Codable, Sendable {
  var engine: EngineName
  /// Nil: fill a store for the read workloads and leave it.
  var group: Group?
  /// The workloads to report; a group runs whole.
  var workloads: [String]
  var directory: String
  /// The store that the engine filled before, where the group needs one.
  var preparedStore: String?
  var settings: Settings

  func run() async throws {
    if group == .database {
      if engine == .database {
        try await run(DatabaseSubject.self)
      } else {
        try await run(StoreSubject.self)
      }
      return
    }
    switch engine {
    case .roost: try run(RoostEngine.self)
    case .rocksdb: try run(RocksDBEngine<DefaultSetting>.self)
    case .rocksdbTuned: try run(RocksDBEngine<TunedSetting>.self)
    case .leveldb: try run(LevelDBEngine.self)
    case .null: try run(NullEngine.self)
    case .database: throw BenchmarkError("the database has workloads of its own only")
    }
  }

  private func report(_ measurement: Measurement) throws {
    guard workloads.contains(measurement.workload) else { return }
    let line = try JSONEncoder().encode(measurement) + [UInt8(ascii: "\n")]
    _ = line.withUnsafeBytes { Glibc.write(1, $0.baseAddress, $0.count) }
  }

  private func run<S: DatabaseWorkloadSubject>(_ type: S.Type) async throws {
    let runner = DatabaseRunner<S>(
      settings: settings, directory: directory, workloads: workloads, report: report)
    try await runner.run()
  }

  private func run<E: Engine>(_ type: E.Type) throws {
    let runner = Runner<E>(settings: settings, directory: directory, report: report)
    if let group {
      try runner.run(group, preparedStore: preparedStore)
    } else {
      try runner.prepare()
    }
  }
}

/// A child that ended: what it measured, and which share of the machine's time went meanwhile to other
/// machines on the same host and to other processes.
struct ChildResult {
  var measurements: [Measurement]
  var stolenShare: Double
  var othersShare: Double
}

/// Starts this executable anew with a task and waits for it.
///
/// - Throws: where the child failed; its own message went to standard error.
func runChild(_ task: ChildTask, scratch: String) throws -> ChildResult {
  let output = "\(scratch)/child.out"
  let text = String(decoding: try JSONEncoder().encode(task), as: UTF8.self)
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
  // The parent ignores an interrupt, to clean up; the child must not inherit that.
  var attributes = posix_spawnattr_t()
  posix_spawnattr_init(&attributes)
  defer { posix_spawnattr_destroy(&attributes) }
  var signals = sigset_t()
  sigemptyset(&signals)
  sigaddset(&signals, SIGINT)
  posix_spawnattr_setsigdefault(&attributes, &signals)
  posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))

  let before = machineTicks()
  var arguments = ["roost-bench", "child", text].map { $0.withCString { strdup($0) } } + [nil]
  defer { for argument in arguments { free(argument) } }
  var process = pid_t()
  let code = posix_spawn(&process, "/proc/self/exe", &actions, &attributes, &arguments, environ)
  guard code == 0 else {
    throw BenchmarkError("could not start a child process: \(String(cString: strerror(code)))")
  }
  var status: Int32 = 0
  var usage = rusage()
  while wait4(process, &status, 0, &usage) < 0 && errno == EINTR {}
  guard status == 0 else {
    let how = status & 0x7F == 0 ? "code \(status >> 8)" : "signal \(status & 0x7F)"
    throw BenchmarkError("\(task.engine.rawValue) \(task.group?.rawValue ?? "prepare") ended with \(how)")
  }
  let after = machineTicks()
  let measurements = try contents(output).split(separator: "\n").map { line in
    try JSONDecoder().decode(Measurement.self, from: Data(line.utf8))
  }
  unlink(output)
  let all = Double(max(1, after.all - before.all))
  let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
  let own = (Usage.seconds(usage.ru_utime) + Usage.seconds(usage.ru_stime)) * ticks
  return ChildResult(
    measurements: measurements, stolenShare: Double(after.stolen - before.stolen) / all,
    othersShare: max(0, Double(after.busy - before.busy) - own) / all)
}
