import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostStorage

// The commands on typed values of a directory: flags, registers. Those that a cluster has as well are in
// `CounterAndSetCommands.swift`. What they hold is shown by `roost get`.

/// What all of them take.
struct TypedOptions: ParsableArguments {
  @OptionGroup var directory: DirectoryArgument
  @Argument(help: "The key, 1 to 65,533 bytes.") var key: String
  @OptionGroup var keyspace: KeyspaceOption
  @Flag(help: "Return once the write would survive power loss.") var sync = false
  @OptionGroup var bytes: BytesOptions

  /// Runs `body` with the keyspace and the key, then waits for the disk where asked to.
  func write<R>(_ body: (KeyspaceCore, RawSpan) throws -> R) throws -> R {
    try TypedKey(bytes.bytes(key, "key"), keyspace, directory.directory).write(sync: sync, body)
  }
}

/// A key of a keyspace in a directory, and its typed value.
struct TypedKey {
  private let key: [UInt8]
  private let keyspace: KeyspaceOption
  private let directory: String

  init(_ key: [UInt8], _ keyspace: KeyspaceOption, _ directory: String) {
    self.key = key
    self.keyspace = keyspace
    self.directory = directory
  }

  /// Runs `body` with the keyspace and the key, then waits for the disk where asked to.
  func write<R>(sync: Bool, _ body: (KeyspaceCore, RawSpan) throws -> R) throws -> R {
    if key.isEmpty { throw Failure.usage("a key must have at least one byte") }
    return try withDatabase(directory, creates: true) { database in
      let keyspace = try database.madeKeyspace(self.keyspace)
      return try key.withKeyBytes { key in
        let result = try body(keyspace, key)
        if sync { try keyspace.sync(key) }
        return result
      }
    }
  }

  func read<R>(_ body: (KeyspaceCore, RawSpan) throws -> R) throws -> R {
    try withDatabase(directory) { database in
      let keyspace = try database.keyspace(self.keyspace.keyspace, nil)
      return try key.withKeyBytes { try body(keyspace, $0) }
    }
  }
}

/// `roost flag`: switches a flag.
struct Flagged: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "flag",
    abstract: "Switch a flag on or off; where both happen at once, it is on.",
    discussion: """
      EXAMPLES
        roost flag ./db open:42 on
      """)

  enum State: String, ExpressibleByArgument, CaseIterable { case on, off }

  @OptionGroup var options: TypedOptions
  @Argument(help: "on or off.") var state: State

  func run() throws {
    try options.write { keyspace, key in
      try keyspace.change(key, EnableWinsFlag.self) { flag, stamp throws(CausalityError) in
        if state == .on { flag.enable(dot: stamp.dot) } else { flag.disable() }
        return (true, ())
      }
    }
  }
}

/// `roost assign`: writes a register.
struct Assign: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "assign",
    abstract: "Write a register: of writes at once, the last by the clock counts.",
    discussion: """
      EXAMPLES
        roost assign ./db name:42 Ada
      """)

  @OptionGroup var options: TypedOptions
  @Argument(help: "The value.") var value: String

  func run() throws {
    let value = try options.bytes.bytes(self.value, "value")
    try options.write { keyspace, key in
      try keyspace.change(key, LWWRegister.self) { register, stamp throws(CausalityError) in
        register.assign(value, timestamp: stamp.timestamp, dot: stamp.dot)
        return (true, ())
      }
    }
  }
}
