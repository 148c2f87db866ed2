// Who gets the next tokens:
//
// 1. The waiting request of the highest priority; within one priority, the one that came first.
// 2. But of the grants that pass over somebody of a lower priority, each tenth goes instead to the
//    one below the highest who has waited longest. So nobody starves: whoever has k older ones
//    waiting below the highest priority is served after at most 10 (k + 1) grants.
// 3. The next tokens are for that one alone. Nobody else takes them meanwhile, so that a large
//    request is not passed by small ones for ever.

/// The queue before a ``TokenBucket``: a pure value, told the time and who comes and goes.
///
/// Invariant: each request that waits asks for at most the burst.
struct TokenQueue: Sendable {
  /// Grants that may pass over a waiting request of lower priority before one goes there.
  static let grantsBeforeYield = 9

  private struct Request {
    /// Rises in the order of coming.
    let ticket: UInt64
    let units: Int
  }

  private(set) var bucket: TokenBucket
  /// By priority, each in the order of coming.
  private var lanes: [[Request]] = RateLimiter.Priority.allCases.map { _ in [] }
  private var nextTicket: UInt64 = 0
  private var passedOver = 0
  /// How many requests wait.
  private(set) var count = 0

  init(_ bucket: TokenBucket) { self.bucket = bucket }

  /// Changes rate and burst.
  ///
  /// - Returns: the requests that the new burst can never allow; they are gone.
  mutating func set(
    unitsPerSecond: Int, burst: Int, at now: UInt64
  ) throws(RateLimiterError) -> [UInt64] {
    try bucket.set(unitsPerSecond: unitsPerSecond, burst: burst, at: now)
    let refused = lanes.joined().filter { $0.units > burst }.map(\.ticket)
    for ticket in refused { cancel(ticket) }
    return refused
  }

  /// Takes units for someone who does not wait, if it is their turn and the bucket has them.
  mutating func take(_ units: Int, _ priority: RateLimiter.Priority, at now: UInt64) -> Bool {
    let lane = priority.rawValue
    if count > 0, !lanes[lane].isEmpty || turn(withNewcomerIn: lane) != lane { return false }
    guard case .taken = bucket.take(units, at: now) else { return false }
    noteGrant(in: lane)
    return true
  }

  /// - Parameter units: at most the burst.
  /// - Returns: the request's ticket.
  mutating func enqueue(_ units: Int, _ priority: RateLimiter.Priority) -> UInt64 {
    precondition(units <= bucket.burst)
    nextTicket += 1
    lanes[priority.rawValue].append(Request(ticket: nextTicket, units: units))
    count += 1
    return nextTicket
  }

  /// Grants what the bucket has tokens for.
  ///
  /// - Returns: the tickets of the requests that are done, in the order of their grants.
  mutating func serve(at now: UInt64) -> [UInt64] {
    var granted: [UInt64] = []
    while let lane = turn(), case .taken = bucket.take(lanes[lane][0].units, at: now) {
      granted.append(lanes[lane].removeFirst().ticket)
      count -= 1
      noteGrant(in: lane)
    }
    return granted
  }

  /// Removes a request that waits.
  mutating func cancel(_ ticket: UInt64) {
    for lane in lanes.indices {
      guard let index = lanes[lane].firstIndex(where: { $0.ticket == ticket }) else { continue }
      lanes[lane].remove(at: index)
      count -= 1
    }
  }

  /// The request that the next tokens are for.
  var first: UInt64? { turn().map { lanes[$0][0].ticket } }

  /// How long until the first request can be granted, if nothing changes.
  mutating func firstDelay(at now: UInt64) -> UInt64? {
    guard let lane = turn() else { return nil }
    return bucket.delay(for: lanes[lane][0].units, at: now)
  }

  /// How long a newcomer would have to wait for those of its own priority and above, and then for
  /// its own units, if nobody else came.
  mutating func delay(for units: Int, _ priority: RateLimiter.Priority, at now: UInt64) -> UInt64 {
    var wanted = units
    for request in lanes[priority.rawValue...].joined() {
      let (sum, overflow) = wanted.addingReportingOverflow(request.units)
      wanted = overflow ? .max : sum
    }
    return bucket.delay(for: wanted, at: now)
  }

  /// How many requests stand before this one by the first rule.
  func countAhead(of ticket: UInt64, _ priority: RateLimiter.Priority) -> Int {
    lanes[(priority.rawValue + 1)...].reduce(0) { $0 + $1.count }
      + lanes[priority.rawValue].count { $0.ticket < ticket }
  }

  // MARK: - Whose turn it is

  private func turn(withNewcomerIn newcomer: Int? = nil) -> Int? {
    var highest = lanes.lastIndex { !$0.isEmpty }
    if let newcomer { highest = max(highest ?? newcomer, newcomer) }
    guard let highest, passedOver >= Self.grantsBeforeYield else { return highest }
    let longest = lanes[..<highest].indices.filter { !lanes[$0].isEmpty }
      .min { lanes[$0][0].ticket < lanes[$1][0].ticket }
    return longest ?? highest
  }

  private mutating func noteGrant(in lane: Int) {
    let passesOver = lanes[..<lane].contains { !$0.isEmpty }
    let yields = lanes[(lane + 1)...].contains { !$0.isEmpty }
    passedOver = passesOver && !yields ? passedOver + 1 : 0
  }
}
