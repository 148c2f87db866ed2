/// How two states relate: which of them has seen the other.
public enum CausalOrder: Hashable, Sendable {
  /// Both have seen the same.
  case equal
  /// The other has seen all that this has, and more.
  case before
  /// This has seen all that the other has, and more.
  case after
  /// Each has seen something that the other has not.
  case concurrent

  /// The order from "at most" asked both ways.
  init(atMost: Bool, atLeast: Bool) {
    self =
      switch (atMost, atLeast) {
      case (true, true): .equal
      case (true, false): .before
      case (false, true): .after
      case (false, false): .concurrent
      }
  }
}

/// What was seen of one key's writes: for each replica, all of its dots up to a counter.
///
/// "Seen up to n" means that everything up to n *of that key* is held or was replaced: so a vector
/// travels with the full state it describes, never with a bare dot (REPLICATION: gaps).
///
/// Invariant: entries ascend by replica, no replica twice, no counter zero. So equal vectors have
/// equal entries and equal encodings. A plain value.
public struct VersionVector: Hashable, Sendable {
  public struct Entry: Hashable, Sendable {
    public let replica: ReplicaID
    /// At least 1.
    public let counter: UInt64
  }

  /// Ascending by replica.
  public private(set) var entries: [Entry]

  /// Nothing was seen.
  public init() { entries = [] }

  /// The least vector that contains all `dots`, and with each the dots before it.
  public init(_ dots: some Sequence<Dot>) {
    self.init()
    for dot in dots { include(dot) }
  }

  /// - Parameter entries: as the invariant says.
  init(sorted entries: [Entry]) { self.entries = entries }

  public var isEmpty: Bool { entries.isEmpty }

  /// How far `replica` was seen; 0 where nothing of it was.
  ///
  /// - Complexity: O(log n) of the number of entries.
  public subscript(replica: ReplicaID) -> UInt64 {
    let position = position(of: replica)
    guard position < entries.count, entries[position].replica == replica else { return 0 }
    return entries[position].counter
  }

  /// Whether `dot` was seen.
  ///
  /// - Complexity: O(log n) of the number of entries.
  public func contains(_ dot: Dot) -> Bool { dot.counter <= self[dot.replica] }

  /// Where the entry of `replica` is, or belongs.
  func position(of replica: ReplicaID) -> Int {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low &+ high) >> 1
      if entries[middle].replica < replica { low = middle &+ 1 } else { high = middle }
    }
    return low
  }

  /// Sees `dot`, and so everything of its replica before it.
  ///
  /// - Complexity: O(n) of the number of entries where the replica is new, else O(log n).
  public mutating func include(_ dot: Dot) {
    let position = position(of: dot.replica)
    let entry = Entry(replica: dot.replica, counter: dot.counter)
    if position == entries.count || entries[position].replica != dot.replica {
      entries.insert(entry, at: position)
    } else if entries[position].counter < dot.counter {
      entries[position] = entry
    }
  }

  /// Sees all that `other` has seen: the least vector that contains both.
  ///
  /// - Complexity: O(n) of the numbers of entries; allocates only where the two are concurrent.
  public mutating func merge(_ other: VersionVector) {
    switch compare(to: other) {
    case .equal, .after: return
    case .before: self = other
    case .concurrent: entries = Self.union(entries, other.entries)
    }
  }

  private static func union(_ a: [Entry], _ b: [Entry]) -> [Entry] {
    var union: [Entry] = []
    union.reserveCapacity(a.count &+ b.count)
    var i = 0
    var j = 0
    while i < a.count, j < b.count {
      if a[i].replica < b[j].replica {
        union.append(a[i])
        i &+= 1
      } else if b[j].replica < a[i].replica {
        union.append(b[j])
        j &+= 1
      } else {
        union.append(a[i].counter < b[j].counter ? b[j] : a[i])
        i &+= 1
        j &+= 1
      }
    }
    union.append(contentsOf: a[i...])
    union.append(contentsOf: b[j...])
    return union
  }

  /// How this vector relates to `other`.
  ///
  /// - Complexity: O(n) of the numbers of entries.
  public func compare(to other: VersionVector) -> CausalOrder {
    var atMost = true
    var atLeast = true
    var i = 0
    var j = 0
    while i < entries.count, j < other.entries.count {
      let mine = entries[i]
      let theirs = other.entries[j]
      if mine.replica < theirs.replica {
        atMost = false
        i &+= 1
      } else if theirs.replica < mine.replica {
        atLeast = false
        j &+= 1
      } else {
        if mine.counter > theirs.counter { atMost = false }
        if mine.counter < theirs.counter { atLeast = false }
        i &+= 1
        j &+= 1
      }
    }
    if i < entries.count { atMost = false }
    if j < other.entries.count { atLeast = false }
    return CausalOrder(atMost: atMost, atLeast: atLeast)
  }

  /// Whether `other` has seen all that this has.
  ///
  /// - Complexity: O(n) of the numbers of entries.
  public func isAtMost(_ other: VersionVector) -> Bool {
    switch compare(to: other) {
    case .equal, .before: true
    case .after, .concurrent: false
    }
  }
}
