/// What carries a dot.
package protocol Dotted: Hashable, Sendable {
  var dot: Dot { get }
}

/// From dots to live parts: what all dot stores are built of (`DotFun` of the paper).
///
/// Invariant: parts ascend by dot, no dot twice. Two sides that have the same dot have the same part,
/// since a dot is minted once; where that is broken, a join keeps its own and no longer commutes.
package struct DotFunction<Part: Dotted>: Hashable, Sendable {
  package private(set) var parts: [Part]

  init() { parts = [] }

  /// - Parameter parts: as the invariant says.
  init(sorted parts: [Part]) { self.parts = parts }

  var isEmpty: Bool { parts.isEmpty }

  /// The first part whose dot is not before `replica`'s first.
  func position(of replica: ReplicaID) -> Int {
    var low = 0
    var high = parts.count
    while low < high {
      let middle = (low &+ high) >> 1
      if parts[middle].dot.replica < replica { low = middle &+ 1 } else { high = middle }
    }
    return low
  }

  /// Adds a part with a new dot.
  mutating func insert(_ part: Part) {
    var position = position(of: part.dot.replica)
    while position < parts.count, parts[position].dot < part.dot { position &+= 1 }
    precondition(
      position == parts.count || parts[position].dot != part.dot, "a dot is minted once")
    parts.insert(part, at: position)
  }

  /// The part of `replica`, where each replica has at most one.
  func only(of replica: ReplicaID) -> Part? {
    let position = position(of: replica)
    guard position < parts.count, parts[position].dot.replica == replica else { return nil }
    return parts[position]
  }

  /// Puts `part` in the place of its replica's only one.
  mutating func setOnly(_ part: Part) {
    let position = position(of: part.dot.replica)
    if position < parts.count, parts[position].dot.replica == part.dot.replica {
      precondition(parts[position].dot < part.dot, "a replica's dots rise")
      parts[position] = part
    } else {
      parts.insert(part, at: position)
    }
  }

  /// Puts `part` in the place of all that are here.
  mutating func replaceAll(with part: Part) {
    parts.removeAll(keepingCapacity: true)
    parts.append(part)
  }

  mutating func removeAll() { parts.removeAll() }

  mutating func removeAll(where isGone: (Part) -> Bool) { parts.removeAll(where: isGone) }

  mutating func remove(seenBy vector: VersionVector) {
    if parts.isEmpty || vector.isEmpty { return }
    parts.removeAll { vector.contains($0.dot) }
  }

  mutating func join(_ other: DotFunction, own: VersionVector, other context: VersionVector) {
    if other.parts.isEmpty { return remove(seenBy: context) }
    if parts.isEmpty {
      parts = other.parts
      return remove(seenBy: own)
    }
    let theirs = other.parts
    var joined: [Part] = []
    joined.reserveCapacity(parts.count &+ theirs.count)
    var i = 0
    var j = 0
    while i < parts.count || j < theirs.count {
      if j == theirs.count || (i < parts.count && parts[i].dot < theirs[j].dot) {
        if !context.contains(parts[i].dot) { joined.append(parts[i]) }
        i &+= 1
      } else if i == parts.count || theirs[j].dot < parts[i].dot {
        if !own.contains(theirs[j].dot) { joined.append(theirs[j]) }
        j &+= 1
      } else {
        joined.append(parts[i])
        i &+= 1
        j &+= 1
      }
    }
    parts = joined
  }

  func containsParts(of other: DotFunction, seenBy own: VersionVector) -> Bool {
    var i = 0
    for theirs in other.parts {
      while i < parts.count, parts[i].dot < theirs.dot { i &+= 1 }
      let isHere = i < parts.count && parts[i].dot == theirs.dot
      if !isHere && own.contains(theirs.dot) { return false }
    }
    return true
  }

  func forEachDot(_ body: (Dot) -> Void) {
    for part in parts { body(part.dot) }
  }
}
