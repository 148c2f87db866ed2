import ArgumentParser

// The commands on typed values, in a directory or, with --connect, in a cluster: flags and registers;
// counters and sets are in `CounterAndSetCommands.swift`, and the key that all of them are about is in
// `TypedKey.swift`. What they hold is shown by `roost get` as well.

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
    try await options.writtenKey(key, directory).write(.change(isOn ? .enable : .disable))
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
    try await options.writtenKey(words[0], directory).write(.change(.assign(value)))
  }
}
