public import RoostStorage

/// Which keys a scan shows: those that meet all that is set.
///
/// ```swift
/// .all
/// .prefix("user:")
/// .range(from: "a", to: "c")
/// .tag("42")                    // keys with {42} in them: one partition only
/// .prefix("song:").tagged("42")
/// ```
///
/// A plain value.
public struct ScanRange: Hashable, Sendable {
  /// The first key; `nil` for no bound.
  public var lower: [UInt8]?
  /// The first key that is too large; `nil` for no bound.
  public var upper: [UInt8]?
  /// What keys begin with.
  public var prefix: [UInt8] = []
  /// What stands between the first `{` and the next `}` of each key; `nil` for any or none. All such
  /// keys share a partition, and only that is read. (Of a prefix that holds a whole tag, too.)
  public var tag: [UInt8]?

  public init() {}

  /// All keys.
  public static var all: ScanRange { ScanRange() }

  /// The keys that begin with a prefix.
  public static func prefix(_ prefix: some ByteKey) -> ScanRange {
    var range = ScanRange()
    range.prefix = bytes(prefix)
    return range
  }

  /// The keys from `lower` up to, and not with, `upper`.
  public static func range(from lower: some ByteKey, to upper: some ByteKey) -> ScanRange {
    var range = ScanRange()
    range.lower = bytes(lower)
    range.upper = bytes(upper)
    return range
  }

  /// The keys from `lower` on.
  public static func from(_ lower: some ByteKey) -> ScanRange {
    var range = ScanRange()
    range.lower = bytes(lower)
    return range
  }

  /// The keys before `upper`.
  public static func to(_ upper: some ByteKey) -> ScanRange {
    var range = ScanRange()
    range.upper = bytes(upper)
    return range
  }

  /// The keys of a tag.
  public static func tag(_ tag: some ByteKey) -> ScanRange { all.tagged(tag) }

  /// The same, of the keys of a tag only.
  public func tagged(_ tag: some ByteKey) -> ScanRange {
    var range = self
    range.tag = Self.bytes(tag)
    return range
  }

  private static func bytes(_ key: some ByteKey) -> [UInt8] {
    key.withKeyBytes { key in unsafe key.withUnsafeBytes { unsafe [UInt8]($0) } }
  }
}

/// In which order a scan shows keys: byte by byte, as unsigned numbers.
public enum ScanOrder: UInt8, Hashable, Sendable {
  case ascending = 0
  case descending = 1
}

/// What a scan has to read: its bounds as one interval of user keys, and which partitions they can
/// lie in.
package struct ScanPlan {
  /// Inclusive.
  package var lower: [UInt8]
  /// Exclusive.
  package var upper: [UInt8]?
  /// The one partition that can have such keys, where there is just one.
  package var partition: Int?
  /// What the tag of each key is compared with; `nil` where the interval says enough.
  package var tag: [UInt8]?
  package var isEmpty = false
  /// In how many leading bytes all keys of the interval agree, as far as its bounds tell.
  package private(set) var sharedCount = 0

  /// - Parameter position: the scan goes on behind this key.
  /// - Throws: `.invalidArgument` for a tag that no key can have.
  package init(
    _ range: ScanRange, _ order: ScanOrder, after position: [UInt8]?, partitionCount: Int
  ) throws(DatabaseError) {
    let prefixed = KeyRange(prefix: range.prefix)
    lower = Self.larger(range.lower ?? [], prefixed.lower ?? [])
    upper = Self.smaller(range.upper, prefixed.upper)
    if let position {
      switch order {
      // The first key behind it.
      case .ascending: lower = Self.larger(lower, position + [0])
      case .descending: upper = Self.smaller(upper, position)
      }
    }
    sharedCount = max(range.prefix.count, upper.map { Self.commonCount(lower, $0) } ?? 0)
    if let tag = range.tag {
      guard !tag.isEmpty, !tag.contains(UInt8(ascii: "}")) else {
        throw DatabaseError(.invalidArgument, "a key's tag is not empty and has no `}` in it")
      }
      partition = Placement.partition(ofHash: Checksum.xxh64(tag), count: partitionCount)
      self.tag = tag
    }
    // A prefix with a whole tag is the tag of all keys that begin with it.
    if let place = unsafe Placement.tag(of: range.prefix.span.bytes) {
      let own = Array(range.prefix[place])
      if tag == nil || tag == own { tag = nil } else { isEmpty = true }
      partition = Placement.partition(ofHash: Checksum.xxh64(own), count: partitionCount)
    }
    if let upper, !lower.lexicographicallyPrecedes(upper) { isEmpty = true }
  }

  /// Whether a key has the tag that was asked for.
  package func admits(_ key: [UInt8]) -> Bool {
    guard let tag else { return true }
    return unsafe Placement.tag(of: key.span.bytes).map { Array(key[$0]) } == tag
  }

  private static func commonCount(_ a: [UInt8], _ b: [UInt8]) -> Int {
    zip(a, b).prefix { $0 == $1 }.count
  }

  private static func larger(_ a: [UInt8], _ b: [UInt8]) -> [UInt8] {
    a.lexicographicallyPrecedes(b) ? b : a
  }

  private static func smaller(_ a: [UInt8]?, _ b: [UInt8]?) -> [UInt8]? {
    guard let a else { return b }
    guard let b else { return a }
    return a.lexicographicallyPrecedes(b) ? a : b
  }
}
