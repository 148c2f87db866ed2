import ArgumentParser
import Roost
import RoostCluster

/// `roost ring DIR`: who holds what in a database, and what a change would move.
struct RingShow: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Draw the ring of a database: each store's share, and what a change would move.",
    discussion: """
      Changes nothing: `roost rebalance` does.

      EXAMPLES
        roost ring ./disk1
        roost ring ./disk1 --add disk5:100:rack2    what a fifth store would move
        roost ring ./disk1 --remove disk3
        roost ring ./disk1 --weigh disk1:200 --json
      """)

  @OptionGroup var directory: DirectoryArgument
  @OptionGroup var changes: RingChanges
  @Flag(help: "A JSON object.") var json = false

  func run() throws {
    let snapshot = try withDatabase(directory.directory) { $0.ringSnapshot }
    let ring = snapshot.ring
    let plan: RingPlan? =
      changes.isEmpty ? nil : try snapshot.plan(to: changes.applied(to: ring.staying))
    guard json else {
      for line in RingPicture.lines(ring: ring, plan: plan) { try Output.standard.line(line) }
      if !snapshot.planned.isEmpty {
        try Output.standard.line(
          "\n\(Format.count(snapshot.planned.count, "partition")) still to move: `roost rebalance` goes on")
      }
      return
    }
    try Output.standard.line(
      RingJSON.object(
        ring, plan, counts: [("left", snapshot.planned.count)], directories: snapshot.directories))
  }
}

/// `roost rebalance`: adds, removes and weighs stores, and moves their partitions.
struct RebalanceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rebalance",
    abstract: "Add, remove or weigh stores of a database, and move the partitions that have to.",
    discussion: """
      Goes on with what an earlier run left; a run that is killed loses nothing. A program that
      has the database open does the same with its own calls, while it reads and writes.

      EXAMPLES
        roost rebalance ./disk1 --add ./disk5
        roost rebalance ./disk1 --add ./disk5:200:rack2 --add ./disk6
        roost rebalance ./disk1 --remove ./disk3
        roost rebalance ./disk1 --weigh ./disk1:200 --rate 10MiB
        roost rebalance ./disk1                 go on
      """)

  @OptionGroup var directory: DirectoryArgument
  @Option(help: ArgumentHelp("A directory that becomes a store.", valueName: "dir[:weight[:zone]]"))
  var add: [String] = []
  @Option(help: ArgumentHelp("The directory of a store that leaves.", valueName: "dir"))
  var remove: [String] = []
  @Option(help: ArgumentHelp("A store's new weight.", valueName: "dir:weight"))
  var weigh: [String] = []
  @Option(help: "Bytes a second at most: 500000, 10MiB; no limit otherwise.")
  var rate: String?
  @Option(help: "Give up after so many seconds; what is left goes on next time.")
  var timeout: Int = 86_400
  @Flag(help: "A JSON object at the end.") var json = false

  func validate() throws {
    if timeout < 1 { throw ValidationError("--timeout must be at least 1 second.") }
  }

  func run() throws {
    let rate = try self.rate.map(Self.bytes)
    let added = try add.map(StoreArgument.init)
    let weighed = try weigh.map(StoreArgument.init)
    for store in weighed where store.weight == nil {
      throw Failure.usage("--weigh \(store.directory): write DIR:WEIGHT")
    }
    let final = try withDatabase(directory.directory) { database in
      try database.setTransferRate(rate)
      for store in added {
        _ = try database.addStore(
          try absolute(store.directory), weight: store.weight ?? DatabaseOptions.Member().weight,
          zone: store.zone ?? "")
      }
      for store in weighed {
        try database.changeStore(
          database.memberID(at: absolute(store.directory)), weight: store.weight, zone: store.zone)
      }
      for directory in remove {
        try database.removeStore(database.memberID(at: absolute(directory)))
      }
      try wait(database)
      return database.rebalance
    }
    try report(final)
  }

  /// Waits in small steps, to show how far it is.
  private func wait(_ database: DatabaseCore) throws {
    var progress = Progress()
    defer { progress.clear() }
    let end = ContinuousClock.now + .seconds(timeout)
    while true {
      do throws(DatabaseError) { return try database.waitUntilBalanced(.milliseconds(100)) } catch {
        guard error.code == .deadlineExceeded, ContinuousClock.now < end else { throw error }
      }
      let now = database.rebalance
      progress.show(
        "\(now.movesDone) of \(now.movesDone + now.movesLeft) partitions, "
          + "\(Format.count(now.keysMoved, "key")), \(Format.bytes(now.bytesMoved))"
          + (now.failure.map { "; waits: \($0.message)" } ?? ""))
    }
  }

  private func report(_ final: Rebalance) throws {
    guard json else {
      return try Output.standard.line(
        "balanced: \(Format.count(final.movesDone, "partition")) moved, "
          + "\(Format.count(final.keysMoved, "key")), \(Format.bytes(final.bytesMoved))")
    }
    var writer = JSONWriter()
    writer.beginObject()
    writer.member("partitions", final.movesDone)
    writer.member("keys", final.keysMoved)
    writer.member("bytes", final.bytesMoved)
    writer.member("balanced", final.isBalanced)
    writer.endObject()
    try Output.standard.line(writer)
  }

  /// A number of bytes, with KiB, MiB or GiB behind it or not.
  static func bytes(_ text: String) throws -> Int {
    for (suffix, shift) in [("KiB", 10), ("MiB", 20), ("GiB", 30)] where text.hasSuffix(suffix) {
      if let number = Int(text.dropLast(3)), number >= 1, number < 1 << 30 { return number << shift }
    }
    guard let number = Int(text), number >= 1 else {
      throw Failure.usage("--rate `\(text)`: write a number of bytes, or one with KiB, MiB or GiB")
    }
    return number
  }
}
