import ArgumentParser
import Roost
import RoostCluster

/// `roost bank`: random transfers between accounts, whose sum must stay.
struct Bank: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Move money between accounts of several stores, and check that none is lost.",
    usage: """
      roost bank <directories> ... [<options>]
             roost bank --connect <host:port> --cluster <name> [<options>]
      """,
    discussion: """
      Opens or makes a database over the directories, recovers what an earlier run left, checks
      that all accounts add up, then transfers random amounts between random accounts from
      several clients at once. No account may go below zero, and the sum must stay what it was.

      EXAMPLES
        roost bank ./a ./b ./c ./d --accounts 100 --clients 8 --seconds 5 --sync
        roost bank ./a ./b ./c ./d --json       a line for machines; run it again after a kill

      In a cluster the accounts are in the keyspace `accounts`, which is made before. Each commit waits
      until the nodes' clocks agree that it is past, so clients at once count for more. While a node is
      out of reach, transfers that need it are aborted; the sums at both ends need all nodes.
        roost cluster make-keyspace accounts --policy transactional --connect …
        roost bank --connect 127.0.0.1:7421 --cluster music --plain --clients 64 --sync

      Ends with code 2 where the sum is not what it must be.
      """)

  static let balance: Int64 = 1_000

  /// Transactions that a node runs for one connection.
  private static let mostOfConnection = 256

  @Argument(help: "The stores' directories; left out with --connect.", completion: .directory)
  var directories: [String] = []
  @Option(help: "How many accounts a new bank has, with \(balance) each: 2 to 1,000,000.") var accounts = 100
  @Option(help: "How many transfer at once: 1 to 1,000.") var clients = 8
  @Option(help: "For how long, in seconds.") var seconds = 5.0
  @Flag(help: "Every transfer survives a power loss before it is acknowledged.") var sync = false
  @Flag(help: "Print each acknowledged transfer: id, from, to, amount.") var acknowledge = false
  @Flag(help: "A JSON object.") var json = false
  @OptionGroup(title: "Clusters") var place: PlaceOptions

  func validate() throws {
    try place.requireNoQuorum()
    try place.requireNoSession()
    if place.isRemote {
      _ = try place.split(directories)
      guard clients <= Self.mostOfConnection else {
        throw ValidationError("With --connect --clients must be 1 to \(Self.mostOfConnection).")
      }
    } else if directories.isEmpty {
      throw ValidationError("Missing expected argument '<directories> ...'")
    }
    guard (2...1_000_000).contains(accounts) else {
      throw ValidationError("--accounts must be 2 to 1,000,000")
    }
    guard (1...1_000).contains(clients) else { throw ValidationError("--clients must be 1 to 1,000") }
    guard seconds >= 0, seconds <= 86_400 else { throw ValidationError("--seconds must be 0 to 86,400") }
  }

  func run() async throws {
    if place.isRemote {
      return try await place.connection.withClient { client in
        let status = try await client.status()
        try await run(in: ClusterBank(ClusterClient(client), nodes: status.members.count))
      }
    }
    try await withOpenDatabase(directories, creates: true) { database in
      try await run(in: try await LocalBank(database, stores: directories.count))
    }
  }

  private func run(in house: any BankHouse) async throws {
    let bank = try await BankAccounts(house, wished: accounts, isSynced: sync)
    let before = try await bank.total()
    let start = ContinuousClock.now
    let tally = try await transfers(bank)
    let elapsed = start.duration(to: .now)
    let after = try await bank.total()
    let expected = Int64(bank.count) * Self.balance
    try report(bank, before, after, tally, elapsed)
    guard before == expected, after == expected else { throw ExitStatus.damage }
  }

  private func transfers(_ bank: BankAccounts) async throws -> BankTally {
    let deadline = ContinuousClock.now + .seconds(seconds)
    let acknowledges = acknowledge
    return try await withThrowingTaskGroup(of: BankTally.self) { group in
      for client in 0..<clients {
        group.addTask {
          var random = SplitMix(seed: UInt64.random(in: 0 ... .max) &+ UInt64(client))
          var tally = BankTally()
          while ContinuousClock.now < deadline {
            try await bank.transfer(&random, &tally, acknowledges: acknowledges)
          }
          return tally
        }
      }
      var sum = BankTally()
      for try await tally in group { sum.add(tally) }
      return sum
    }
  }

  private func report(
    _ bank: BankAccounts, _ before: Int64, _ after: Int64, _ tally: BankTally, _ elapsed: Duration
  ) throws {
    let rate = Double(tally.committed) / max(elapsed / .seconds(1), 0.001)
    if json {
      var writer = JSONWriter()
      writer.beginObject()
      writer.member("total_before", before)
      writer.member("total_after", after)
      writer.member("accounts", bank.count)
      writer.member("stores", bank.house.storeCount)
      writer.member("committed", tally.committed)
      writer.member("aborted", tally.aborted)
      writer.member("refused", tally.refused)
      writer.member("unknown", tally.unknown)
      writer.member("seconds", elapsed / .seconds(1))
      writer.member("per_second", rate)
      writer.member("recovered_in_doubt", bank.house.inDoubtAtOpen)
      writer.endObject()
      return try Output.standard.line(writer)
    }
    let output = Output.standard
    try output.line("\(Format.count(bank.count, "account")), \(before) in all when it was opened")
    let doubts = bank.house.inDoubtAtOpen
    if doubts > 0 {
      try output.line(
        "\(Format.count(doubts, "transaction")) of an earlier run were in doubt, and are decided")
    }
    try output.line(
      "\(Format.count(tally.committed)) transfers committed, \(Format.count(tally.aborted)) aborted, "
        + "\(Format.count(tally.refused)) refused for want of money, \(Format.count(tally.unknown)) unknown")
    try output.line("\(Format.count(Int(rate))) a second; \(after) in all at the end")
  }
}

/// What became of transfers.
struct BankTally: Sendable {
  var committed = 0
  var aborted = 0
  /// Not enough on the account: nothing was done.
  var refused = 0
  var unknown = 0

  mutating func add(_ other: BankTally) {
    committed += other.committed
    aborted += other.aborted
    refused += other.refused
    unknown += other.unknown
  }
}

/// A small random number generator, quick to make.
struct SplitMix: RandomNumberGenerator, Sendable {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z &>> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z &>> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z &>> 31
  }
}
