/// How far a reader of a keyspace's changes has come: hand it back to go on after that.
///
/// It stays good over restarts. It is bound to its keyspace and database. Where a partition has
/// moved to another store since, its changes are told from the beginning. A copy of a database's
/// directories goes on as another: tokens of the one must not be used with the other.
///
/// A plain value; its bytes are made when they are asked for.
public struct ChangeToken: Sendable, Hashable, CustomStringConvertible {
  private let origin: Origin

  private enum Origin: Sendable {
    case position(keyspace: UInt64, FeedPosition, until: UInt64?)
    /// Within a page, after one of its changes.
    case page(FeedTrail, stepsDone: Int, number: UInt64?)
  }

  /// - Parameter bound: see ``bound``.
  init(keyspace: UInt64, _ position: FeedPosition, until bound: UInt64? = nil) {
    origin = .position(keyspace: keyspace, position, until: bound)
  }

  /// - Parameters:
  ///   - stepsDone: how many steps of the page were read to their end.
  ///   - number: the last change read of the step after those, where it was begun.
  init(_ trail: FeedTrail, stepsDone: Int, number: UInt64?) {
    origin = .page(trail, stepsDone: stepsDone, number: number)
  }

  /// The token as bytes, to be kept or sent: from some ten bytes on, where all partitions are read
  /// to the end, to about ten a partition where none is.
  ///
  /// - Complexity: O(partitions).
  public var bytes: [UInt8] { SealedToken.seal(.changes, payload) }

  /// What its bytes seal.
  package var payload: [UInt8] { position.encoded(keyspace, until: bound) }

  /// The token that ``bytes`` gave.
  ///
  /// - Throws: ``DatabaseError`` with code `.damagedToken`, or `.newerFormat`.
  public init(bytes: [UInt8]) throws(DatabaseError) {
    try self.init(payload: try SealedToken.open(.changes, bytes))
  }

  /// - Throws: `.damagedToken` for what ``payload`` does not give.
  init(payload: [UInt8]) throws(DatabaseError) {
    let (keyspace, position, bound) = try FeedPosition.decode(payload)
    self.init(keyspace: keyspace, position, until: bound)
  }

  package var keyspace: UInt64 {
    switch origin {
    case .position(let keyspace, _, _): keyspace
    case .page(let trail, _, _): trail.keyspace
    }
  }

  package var position: FeedPosition {
    switch origin {
    case .position(_, let position, _): position
    case .page(let trail, let stepsDone, let number): trail.position(stepsDone, number)
    }
  }

  /// Between the pages of a reading that ends: the change number at which it does.
  package var bound: UInt64? {
    switch origin {
    case .position(_, _, let bound): bound
    case .page: nil
    }
  }

  public static func == (a: ChangeToken, b: ChangeToken) -> Bool {
    a.keyspace == b.keyspace && a.position == b.position && a.bound == b.bound
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(keyspace)
    hasher.combine(position)
    hasher.combine(bound)
  }

  public var description: String {
    let begun = position.places.count { $0.tenure != nil }
    return "change token, \(begun) of \(position.places.count) partitions begun"
  }
}

/// The way of one page through a feed: from which each of its changes can make its token, which few
/// of them are asked for. A plain value that many share.
final class FeedTrail: Sendable {
  struct Step: Sendable {
    var partition: Int
    var tenure: FeedPosition.Tenure
    /// Up to where the page has read the partition.
    var number: UInt64
    /// As ``FeedPosition/Place/began``.
    var began: UInt64 = 0
  }

  let keyspace: UInt64
  let start: FeedPosition
  let steps: [Step]

  init(keyspace: UInt64, start: FeedPosition, steps: [Step]) {
    self.keyspace = keyspace
    self.start = start
    self.steps = steps
  }

  func position(_ stepsDone: Int, _ number: UInt64?) -> FeedPosition {
    var position = start
    for step in steps.prefix(stepsDone) {
      position.places[step.partition] = FeedPosition.Place(
        tenure: step.tenure, number: step.number, began: step.began)
    }
    if let number {
      let step = steps[stepsDone]
      position.places[step.partition] = FeedPosition.Place(
        tenure: step.tenure, number: number, began: step.began)
      // Whoever goes on from here begins with the partitions that had no turn yet.
      position.next = (step.partition + 1) % position.places.count
    }
    return position
  }
}
