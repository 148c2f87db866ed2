// How two replicas find the keys of a partition in which they differ (Riak's hashtree.erl has the idea):
//
// 1. The other's root is asked for. Where it is this one's, nothing else is sent.
// 2. Else the hashes of the other's groups, then the leaves of those groups that differ.
// 3. Then the keys of the leaves that differ, with their hashes, a page at a time, in order. They are merged
//    with this side's, which are read a page at a time as well: so neither side's keys have to fit memory.
// 4. Each key that only one has, or that has two hashes, comes out, to be mended by whoever drives it.
//
// Both sides go on being written to meanwhile. A key that was changed at one side between its tree and its
// page comes out though it need not, or does not come out though it might: the first costs a look at it, and
// the second has been changed by a write, which looks after its replicas itself. Nothing here decides what a
// record becomes: that is the join's part.

/// One comparison of two replicas of a partition. A value that decides; whoever drives it asks and reads.
struct TreeComparison {
  /// What is asked of the other replica.
  enum Question: Equatable, Sendable {
    case root
    case groups
    case leaves(GroupSet)
    /// Keys of these leaves behind `after`; from the first one on where that is empty.
    case keys(LeafSet, after: [UInt8])
  }

  /// A key in which the two differ.
  struct Difference: Equatable, Sendable {
    var key: [UInt8]
    var isHere: Bool
    var isThere: Bool
  }

  enum Step: Equatable, Sendable {
    /// Ask, and hand the answer to ``receive(hashes:)`` or ``receive(theirs:)``.
    case ask(Question)
    /// Read this side's keys of the leaves behind `after`, and hand them to ``receive(own:)``.
    case read(LeafSet, after: [UInt8])
    /// Mend these keys, of which there is at least one, and go on.
    case mend([Difference])
    case done
  }

  /// Keys that come out at a time.
  static let mostAtOnce = 64

  private enum Stage: Equatable {
    case root
    case groups
    case leaves(GroupSet)
    case keys(LeafSet)
    case done
  }

  /// The keys of one replica, as far as they are here.
  private struct Side {
    var rest: ArraySlice<HashedKey> = []
    /// Up to which key they were told.
    var reached: [UInt8] = []
    var isAtEnd = false

    /// Whether it is known what comes first behind what was dealt with, as long as that is up to `key`.
    func knows(_ key: [UInt8]) -> Bool {
      !rest.isEmpty || isAtEnd || !reached.lexicographicallyPrecedes(key)
    }

    mutating func take(_ page: KeyPage, _ whose: String) throws(DatabaseError) {
      func damaged(_ problem: String) -> DatabaseError {
        DatabaseError(.corruption, "\(whose) page of keys is damaged: \(problem)")
      }
      var last = reached
      for key in page.keys {
        guard last.lexicographicallyPrecedes(key.key) else { throw damaged("its keys are out of order") }
        last = key.key
      }
      if let through = page.through {
        guard !through.lexicographicallyPrecedes(last), reached.lexicographicallyPrecedes(through) else {
          throw damaged("it ends before its keys")
        }
        reached = through
      } else {
        isAtEnd = true
      }
      rest = page.keys[...]
    }
  }

  private let own: HashTree
  private var stage = Stage.root
  private var here = Side()
  private var there = Side()

  /// - Parameter own: this side's tree.
  init(own: HashTree) { self.own = own }

  /// What is to be done next. Asked again before that was done it says the same, but for keys to mend, which
  /// come out once.
  mutating func next() -> Step {
    switch stage {
    case .root: .ask(.root)
    case .groups: .ask(.groups)
    case .leaves(let groups): .ask(.leaves(groups))
    case .keys(let leaves): merge(leaves)
    case .done: .done
    }
  }

  /// Takes the hashes that were asked for.
  ///
  /// - Throws: `.corruption` where there are not as many.
  mutating func receive(hashes: [UInt64]) throws(DatabaseError) {
    func check(_ count: Int) throws(DatabaseError) {
      guard hashes.count == count else {
        throw DatabaseError(.corruption, "\(hashes.count) hashes of a tree where \(count) were asked for")
      }
    }
    switch stage {
    case .root:
      try check(1)
      stage = hashes[0] == own.root ? .done : .groups
    case .groups:
      try check(HashTree.groupCount)
      var differing = GroupSet()
      for (group, hash) in own.groups.enumerated() where hashes[group] != hash { differing.insert(group) }
      stage = differing.isEmpty ? .done : .leaves(differing)
    case .leaves(let groups):
      try check(groups.count * HashTree.groupLeaves)
      var differing = LeafSet()
      var position = 0
      for group in groups.groups {
        for (index, hash) in own.leaves(ofGroup: group).enumerated() {
          if hashes[position] != hash { differing.insert(group * HashTree.groupLeaves + index) }
          position += 1
        }
      }
      stage = differing.isEmpty ? .done : .keys(differing)
    case .keys, .done: throw DatabaseError(.corruption, "hashes of a tree that nobody asked for")
    }
  }

  /// Takes this side's keys that were to be read.
  ///
  /// - Throws: `.corruption` where they are out of order.
  mutating func receive(own page: KeyPage) throws(DatabaseError) { try here.take(page, "this node's") }

  /// Takes the other's keys that were asked for.
  ///
  /// - Throws: `.corruption` where they are out of order, or not behind those that came before.
  mutating func receive(theirs page: KeyPage) throws(DatabaseError) {
    guard case .keys = stage else { throw DatabaseError(.corruption, "keys that nobody asked for") }
    try there.take(page, "the other replica's")
  }

  private mutating func merge(_ leaves: LeafSet) -> Step {
    var found: [Difference] = []
    while found.count < Self.mostAtOnce {
      let mine = here.rest.first
      let theirs = there.rest.first
      let first: [UInt8]
      switch (mine, theirs) {
      case (nil, nil):
        // A side that has told all it has says so before the other is asked for more.
        if !found.isEmpty { return .mend(found) }
        if !here.isAtEnd { return .read(leaves, after: here.reached) }
        if !there.isAtEnd { return .ask(.keys(leaves, after: there.reached)) }
        stage = .done
        return .done
      case (let mine?, nil): first = mine.key
      case (nil, let theirs?): first = theirs.key
      case (let mine?, let theirs?):
        first = theirs.key.lexicographicallyPrecedes(mine.key) ? theirs.key : mine.key
      }
      guard here.knows(first) else {
        return found.isEmpty ? .read(leaves, after: here.reached) : .mend(found)
      }
      guard there.knows(first) else {
        return found.isEmpty ? .ask(.keys(leaves, after: there.reached)) : .mend(found)
      }
      let isHere = mine?.key == first
      let isThere = theirs?.key == first
      if isHere { here.rest.removeFirst() }
      if isThere { there.rest.removeFirst() }
      if !isHere || !isThere || mine?.hash != theirs?.hash {
        found.append(Difference(key: first, isHere: isHere, isThere: isThere))
      }
    }
    return .mend(found)
  }
}
