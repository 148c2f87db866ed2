import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostStorage

// The commands on typed values: counters, sets, flags, registers. What they hold is shown by
// `roost get`.

/// What all of them take.
struct TypedOptions: ParsableArguments {
  @OptionGroup var directory: DirectoryArgument
  @Argument(help: "The key, 1 to 65,533 bytes.") var key: String
  @OptionGroup var keyspace: KeyspaceOption
  @Flag(help: "Return once the write would survive power loss.") var sync = false
  @OptionGroup var bytes: BytesOptions

  /// Runs `body` with the keyspace and the key, then waits for the disk where asked to.
  func write<R>(_ body: (KeyspaceCore, RawSpan) throws -> R) throws -> R {
    let key = try bytes.bytes(self.key, "key")
    if key.isEmpty { throw Failure.usage("a key must have at least one byte") }
    return try withDatabase(directory.directory, creates: true) { database in
      let keyspace = try database.madeKeyspace(self.keyspace)
      return try key.withKeyBytes { key in
        let result = try body(keyspace, key)
        if sync { try keyspace.sync(key) }
        return result
      }
    }
  }

  func read<R>(_ body: (KeyspaceCore, RawSpan) throws -> R) throws -> R {
    let key = try bytes.bytes(self.key, "key")
    return try withDatabase(directory.directory) { database in
      let keyspace = try database.keyspace(self.keyspace.keyspace, nil)
      return try key.withKeyBytes { try body(keyspace, $0) }
    }
  }
}

/// `roost incr`: counts up or down.
struct Increment: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "incr",
    abstract: "Count a counter up or down, and show what it says.",
    discussion: """
      Creates the database and the keyspace where they are missing.

      EXAMPLES
        roost incr ./db likes:42
        roost incr ./db likes:42 --by 10
        roost incr ./db likes:42 --by=-1        an option's value that begins with a dash
      """)

  @OptionGroup var options: TypedOptions
  @Option(help: "How much; negative counts down.") var by: Int64 = 1

  func run() throws {
    let value = try options.write { keyspace, key in
      _ = try keyspace.change(key, PNCounter.self) { counter, stamp throws(CausalityError) in
        try counter.increment(by: by, dot: stamp.dot)
        return (true, ())
      }
      let counter = try keyspace.state(key, PNCounter.self)
      do throws(CausalityError) { return try counter.value() } catch { throw DatabaseError(error) }
    }
    try Output.standard.line("\(value)")
  }
}

/// `roost sadd`: inserts into a set.
struct SetAdd: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sadd",
    abstract: "Insert elements into a set.",
    discussion: """
      Creates the database and the keyspace where they are missing.

      EXAMPLES
        roost sadd ./db tags:42 swift lsm
      """)

  @OptionGroup var options: TypedOptions
  @Argument(help: "The elements.") var elements: [String]

  func run() throws {
    let elements = try self.elements.map { try options.bytes.bytes($0, "element") }
    try options.write { keyspace, key in
      try keyspace.change(key, ORSet.self) { set, stamp throws(CausalityError) in
        for element in elements { set.insert(element, dot: stamp.dot) }
        return (true, ())
      }
    }
  }
}

/// `roost srem`: removes from a set.
struct SetRemove: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "srem",
    abstract: "Remove elements from a set.",
    discussion: """
      Removing what is not in it is no error.

      EXAMPLES
        roost srem ./db tags:42 lsm
      """)

  @OptionGroup var options: TypedOptions
  @Argument(help: "The elements.") var elements: [String]

  func run() throws {
    let elements = try self.elements.map { try options.bytes.bytes($0, "element") }
    try options.write { keyspace, key in
      try keyspace.change(key, ORSet.self) { set, _ throws(CausalityError) in
        for element in elements { set.remove(element) }
        return (true, ())
      }
    }
  }
}

/// `roost smembers`: shows a set.
struct SetMembers: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "smembers",
    abstract: "Show the elements of a set, a line each.",
    discussion: """
      An absent set shows nothing and ends with code 1.

      EXAMPLES
        roost smembers ./db tags:42
        roost smembers ./db tags:42 --json      ["lsm","swift"]
      """)

  @OptionGroup var options: TypedOptions
  @Flag(help: "A JSON array.") var json = false

  func run() throws {
    let set = try options.read { try $0.state($1, ORSet.self) }
    if set.isEmpty { throw Failure(.absent, "there is no set `\(options.key)`") }
    guard json else {
      for element in set.values { try Output.standard.line(options.bytes.text(element)) }
      return
    }
    var writer = JSONWriter()
    writer.beginArray()
    for element in set.values { writer.value(data: element) }
    writer.endArray()
    try Output.standard.line(String(decoding: writer.bytes, as: UTF8.self))
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
