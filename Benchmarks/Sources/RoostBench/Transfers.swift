import Glibc
import Latency

/// What a bank is given, whichever engine keeps it.
struct BankSettings: Sendable {
  var directory: String
  var accounts: Int
  /// Of Roost alone.
  var stores = 1
  var clockBoundMilliseconds = 0

  static let balance: Int64 = 1_000_000

  /// What all accounts hold together, before every transfer and after.
  var total: Int64 { Int64(accounts) * Self.balance }
}

/// An engine with accounts in it, that moves money between them.
protocol Bank: Sendable {
  associatedtype Client: BankClient

  /// Opens a new store and fills the accounts.
  init(_ settings: BankSettings) async throws
  func client() throws -> Client
  /// The sum of all accounts, and how many there are.
  func total() async throws -> (accounts: Int, sum: Int64)
  func close() async throws
  /// Whether calls block their thread, so that each client needs one of its own.
  static var blocks: Bool { get }
}

/// One of those that move money. Used by one task at a time.
protocol BankClient: AnyObject, Sendable {
  /// Reads both accounts, writes both, and returns once that survives power loss. Begins anew where it
  /// meets another transfer.
  ///
  /// - Returns: how many tries it took.
  func transfer(_ amount: Int64, from: Int, to: Int) async throws -> Int
  func close()
}

extension BankClient {
  func close() {}
}

/// A transfer that was begun anew too often.
struct TransferGivenUp: Error {
  var tries: Int
}

/// A stream of numbers that looks random, and is the same for the same seed.
struct Numbers {
  private var state: UInt64

  init(seed: UInt64) { state = mix(seed &+ 0x9E37_79B9_7F4A_7C15) }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    return mix(state)
  }

  /// 0 up to 1.
  mutating func share() -> Double { Double(next() >> 11) * 0x1p-53 }
}

/// Draws account numbers: the i-th account's weight is 1 / i^theta, so 0 draws all alike.
struct Zipf: Sendable {
  /// The sum of the weights up to each account, over all.
  private let sums: [Double]

  init(count: Int, theta: Double) {
    var sums: [Double] = []
    var sum = 0.0
    for rank in 1...count {
      sum += pow(Double(rank), -theta)
      sums.append(sum)
    }
    self.sums = sums.map { $0 / sum }
  }

  func draw(_ numbers: inout Numbers) -> Int {
    let share = numbers.share()
    var (low, high) = (0, sums.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if sums[middle] > share { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// Two accounts, never the same.
  func pair(_ numbers: inout Numbers) -> (Int, Int) {
    let first = draw(&numbers)
    while true {
      let second = draw(&numbers)
      if second != first { return (first, second) }
    }
  }
}

/// What the clients of one cell have done.
struct TransferTally: Sendable {
  var committed: UInt64 = 0
  var tries: UInt64 = 0
  var givenUp: UInt64 = 0
  var latencies = LatencyHistogram()

  mutating func add(_ other: TransferTally) {
    committed += other.committed
    tries += other.tries
    givenUp += other.givenUp
    latencies.add(other.latencies)
  }
}

/// One client's transfers, until the time is over or the count is reached.
struct TransferLoad: Sendable {
  let zipf: Zipf
  let seed: UInt64
  /// Nanoseconds; the first transfers are made before the clock starts, and are not counted.
  let warmUp: UInt64
  let duration: UInt64
  /// Transfers a client, in place of the duration.
  let count: UInt64?

  func run(_ client: some BankClient, index: Int) async throws -> TransferTally {
    var numbers = Numbers(seed: seed &+ UInt64(index) << 32)
    var tally = TransferTally()
    let begin = monotonicNanoseconds() &+ warmUp
    while true {
      let (from, to) = zipf.pair(&numbers)
      let amount = Int64(numbers.next() % 100 + 1)
      let began = monotonicNanoseconds()
      if let count { if tally.committed >= count { return tally } }
      else if began >= begin &+ duration { return tally }
      let isCounted = count != nil || began >= begin
      do {
        let tries = try await client.transfer(amount, from: from, to: to)
        guard isCounted else { continue }
        tally.latencies.record(monotonicNanoseconds() &- began)
        tally.committed += 1
        tally.tries += UInt64(tries)
      } catch let error as TransferGivenUp {
        guard isCounted else { continue }
        tally.givenUp += 1
        tally.tries += UInt64(error.tries)
      }
    }
  }
}
