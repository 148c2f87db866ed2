import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostEnvironment

// The commands on counters and sets; what all typed values have in common is in `TypedKey.swift`.

/// `roost incr`: counts up or down.
struct Increment: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "incr",
    abstract: "Count a counter up or down, and show what it says.",
    usage: PlaceOptions.usage("incr", "<key>"),
    discussion: """
      Creates the database and the keyspace where they are missing; not those of a cluster.

      EXAMPLES
        roost incr ./db likes:42
        roost incr ./db likes:42 --by 10
        roost incr ./db likes:42 --by=-1        an option's value that begins with a dash
        roost incr --connect 127.0.0.1:7421 --cluster music --plain likes:42
        roost incr ./db likes:42 --operation new                    the id is on standard error
        roost incr ./db likes:42 --operation 0193f2...              tried again: counts once
      """)

  @OptionGroup var options: TypedOptions
  @Option(help: "How much; negative counts down.") var by: Int64 = 1
  @Option(
    help: ArgumentHelp(
      "Count once, however often this is tried with one id, for five minutes; `new` makes one.",
      valueName: "id"))
  var operation: String?

  func validate() throws {
    _ = try options.place.split(options.words(), "key")
    if let operation, operation != "new", OperationID(operation) == nil {
      throw ValidationError("--operation is `new`, or an id of 32 hexadecimal digits.")
    }
  }

  /// The id that was given, or a new one, which is told before anything is done.
  private func operationID() -> OperationID? {
    guard operation == "new" else { return operation.flatMap { OperationID($0) } }
    var generator = SystemRandomNumberGenerator()
    let now = Environment.posix().time.wallClockNanoseconds / 1_000_000
    let id = OperationID(milliseconds: now, using: &generator)
    Complaint.line("operation \(id)")
    return id
  }

  func run() async throws {
    let (directory, words) = try options.place.split(options.words(), "key")
    let key = try options.writtenKey(words[0], directory)
    let counter = try await key.write(.count(by, operationID()), reading: PNCounter.self)
    let value: Int64
    do throws(CausalityError) { value = try counter.value() } catch { throw DatabaseError(error) }
    try Output.standard.line("\(value)")
  }
}

extension TypedOptions {
  /// - Parameter elements: the words behind the key.
  /// - Throws: `ValidationError` where there is none.
  fileprivate func split(_ elements: [String]) throws -> (directory: String?, words: [String]) {
    try place.split(words(elements), "key", "elements", takesMore: true)
  }

  fileprivate func write(
    _ elements: [String], _ change: ([[UInt8]]) -> StateChange.Kind
  ) async throws {
    let (directory, words) = try split(elements)
    let elements: [[UInt8]] = try words.dropFirst().map { try bytes.bytes($0, "element") }
    try await writtenKey(words[0], directory).write(.change(change(elements)))
  }
}

/// `roost sadd`: inserts into a set.
struct SetAdd: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sadd",
    abstract: "Insert elements into a set.",
    usage: PlaceOptions.usage("sadd", "<key> <elements> ..."),
    discussion: """
      Creates the database and the keyspace where they are missing; not those of a cluster.

      EXAMPLES
        roost sadd ./db tags:42 swift lsm
        roost sadd --connect 127.0.0.1:7421 --cluster music --plain tags:42 swift lsm
      """)

  @OptionGroup var options: TypedOptions
  @Argument(help: "The elements.") var elements: [String] = []

  func validate() throws { _ = try options.split(elements) }

  func run() async throws { try await options.write(elements) { .insert($0) } }
}

/// `roost srem`: removes from a set.
struct SetRemove: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "srem",
    abstract: "Remove elements from a set.",
    usage: PlaceOptions.usage("srem", "<key> <elements> ..."),
    discussion: """
      Removing what is not in it is no error.

      EXAMPLES
        roost srem ./db tags:42 lsm
        roost srem --connect 127.0.0.1:7421 --cluster music --plain tags:42 lsm
      """)

  @OptionGroup var options: TypedOptions
  @Argument(help: "The elements.") var elements: [String] = []

  func validate() throws { _ = try options.split(elements) }

  func run() async throws { try await options.write(elements) { .remove($0) } }
}

/// `roost smembers`: shows a set.
struct SetMembers: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "smembers",
    abstract: "Show the elements of a set, a line each.",
    usage: PlaceOptions.usage("smembers", "<key>"),
    discussion: """
      An absent set shows nothing and ends with code 1.

      EXAMPLES
        roost smembers ./db tags:42
        roost smembers ./db tags:42 --json      ["lsm","swift"]
        roost smembers --connect 127.0.0.1:7421 --cluster music --plain tags:42
      """)

  @OptionGroup var options: TypedOptions
  @Flag(help: "A JSON array.") var json = false

  func validate() throws { _ = try options.place.split(options.words(), "key") }

  func run() async throws {
    let (directory, words) = try options.place.split(options.words(), "key")
    let set = try await options.key(words[0], directory).state(ORSet.self)
    if set.isEmpty { throw Failure(.absent, "there is no set `\(words[0])`") }
    guard json else {
      for element in set.values { try Output.standard.line(options.bytes.text(element)) }
      return
    }
    var writer = JSONWriter()
    writer.beginArray()
    for element in set.values { writer.value(data: element) }
    writer.endArray()
    try Output.standard.line(writer)
  }
}
