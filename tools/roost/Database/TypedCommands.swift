import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostNetwork
import RoostStorage

// The commands on typed values, in a directory or, with --connect, in a cluster: flags and registers;
// counters and sets are in `CounterAndSetCommands.swift`. What they hold is shown by `roost get` as well.

/// What all of them take.
struct TypedOptions: ParsableArguments {
  @Argument(help: "The store's directory; left out with --connect.", completion: .directory)
  var directory: String
  @Argument(help: "The key, 1 to 65,533 bytes.") var key: String?
  @OptionGroup var keyspace: KeyspaceOption
  @Flag(help: "Return once the write would survive power loss.") var sync = false
  @OptionGroup var bytes: BytesOptions
  @OptionGroup(title: "Clusters") var place: PlaceOptions

  /// All words of a command, with those behind the key.
  func words(_ more: [String] = []) -> [String] { [directory] + (key.map { [$0] } ?? []) + more }

  /// - Throws: ``Failure`` where it is no key.
  func writtenKey(_ text: String) throws -> [UInt8] {
    let key: [UInt8] = try bytes.bytes(text, "key")
    if key.isEmpty { throw Failure.usage("a key must have at least one byte") }
    return key
  }

  /// Changes a key's typed value, in one write.
  ///
  /// - Parameter directory: `nil` for a cluster.
  func change(_ directory: String?, _ key: [UInt8], _ kind: StateChange.Kind) async throws {
    let change = StateChange(kind)
    guard let directory else {
      let request = place.request(.change(change), key, in: keyspace, sync: sync)
      _ = try await place.withKeys { try await $0.key(request) }
      return
    }
    _ = try TypedKey(key, keyspace, directory).write(sync: sync) { keyspace, key in
      try keyspace.apply(change, to: key)
    }
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
struct Flagged: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "flag",
    abstract: "Switch a flag on or off; where both happen at once, it is on.",
    usage: PlaceOptions.usage("flag", "<key> <on|off>"),
    discussion: """
      Creates the database and the keyspace where they are missing; not those of a cluster.

      EXAMPLES
        roost flag ./db open:42 on
        roost flag --connect 127.0.0.1:7421 --cluster music --plain open:42 off
      """)

  @OptionGroup var options: TypedOptions
  @Argument(help: "on or off.") var state: String?

  func validate() throws { _ = try words() }

  private func words() throws -> (directory: String?, key: String, isOn: Bool) {
    let (directory, words) = try options.place.split(options.words(state.map { [$0] } ?? []), "key", "state")
    guard words[1] == "on" || words[1] == "off" else {
      throw ValidationError(
        "The value '\(words[1])' is invalid for '<state>'. Please provide one of 'on' and 'off'.")
    }
    return (directory, words[0], words[1] == "on")
  }

  func run() async throws {
    let (directory, key, isOn) = try words()
    try await options.change(directory, options.writtenKey(key), isOn ? .enable : .disable)
  }
}

/// `roost assign`: writes a register.
struct Assign: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "assign",
    abstract: "Write a register: of writes at once, the last by the clock counts.",
    usage: PlaceOptions.usage("assign", "<key> <value>"),
    discussion: """
      Creates the database and the keyspace where they are missing; not those of a cluster.

      EXAMPLES
        roost assign ./db name:42 Ada
        roost assign --connect 127.0.0.1:7421 --cluster music --plain name:42 Ada
      """)

  @OptionGroup var options: TypedOptions
  @Argument(help: "The value.") var value: String?

  func validate() throws { _ = try words() }

  private func words() throws -> (directory: String?, words: [String]) {
    try options.place.split(options.words(value.map { [$0] } ?? []), "key", "value")
  }

  func run() async throws {
    let (directory, words) = try words()
    let value: [UInt8] = try options.bytes.bytes(words[1], "value")
    try await options.change(directory, options.writtenKey(words[0]), .assign(value))
  }
}
