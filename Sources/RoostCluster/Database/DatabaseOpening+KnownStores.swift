import RoostEnvironment
import RoostStorage

// The stores of a database that were not named: found by the records of those that were.

extension DatabaseOpening {
  /// Opens the members that the given stores name and that were not given. One that is not found is
  /// left to the check of members.
  ///
  /// Where the given store is not where it was last, it was moved or is a copy, and what stands at the
  /// recorded places may be the original's: then the others are looked for beside it only.
  static func openKnownStores(
    _ candidates: inout [Candidate], _ options: DatabaseOptions, _ environment: Environment
  ) throws(DatabaseError) {
    for index in candidates.indices { try read(&candidates[index]) }
    guard let newest = candidates.max(by: { ($0.ring?.revision ?? 0) < ($1.ring?.revision ?? 0) }),
      let ringState = newest.ring
    else { return }
    let present = Set(candidates.compactMap(\.identity?.member))
    let home = newest.identity.flatMap { ringState.places[$0.member] }
    let isAtHome = try home.map { home throws(DatabaseError) in
      try isSameStore(home, newest.path, environment)
    }
    for member in ringState.ring.members where !present.contains(member.id) {
      guard let place = ringState.places[member.id] else { continue }
      var paths = [beside(newest.path, place)]
      // A place that is relative to some directory says nothing of one that is not.
      if isAtHome == true, let home, home.hasPrefix("/") || !place.hasPrefix("/") {
        paths.insert(place, at: 0)
      }
      for path in paths where !candidates.contains(where: { $0.path == path }) {
        guard try openKnownStore(path, member.id, &candidates, options, environment) else { continue }
        // A copy that was opened alone since it was made is at home where it is. The original's other
        // stores know better.
        let theirs = candidates[candidates.count - 1].ring?.places[newest.identity!.member]
        if path != place { break }
        if let theirs, try isSameStore(theirs, newest.path, environment) { break }
        letGo(candidates.removeLast(), environment)
      }
    }
  }

  /// - Returns: whether the member's store was there.
  private static func openKnownStore(
    _ path: String, _ member: MemberID, _ candidates: inout [Candidate], _ options: DatabaseOptions,
    _ environment: Environment
  ) throws(DatabaseError) -> Bool {
    let marker = try storing("\(path) could not be opened") { () throws(StoreError) in
      try Store.markerInfo(in: path, environment.fileSystem)
    }
    guard marker != nil else { return false }
    candidates.append(try openStore(path, options, environment))
    try read(&candidates[candidates.count - 1])
    if candidates[candidates.count - 1].identity?.member == member { return true }
    // Another store has taken the place.
    letGo(candidates.removeLast(), environment)
    return false
  }

  /// Whether two paths lead to one store.
  private static func isSameStore(
    _ one: String, _ other: String, _ environment: Environment
  ) throws(DatabaseError) -> Bool {
    if one == other { return true }
    let (first, second) = try storing("\(one) could not be looked at") { () throws(StoreError) in
      (
        try Store.markerInfo(in: one, environment.fileSystem),
        try Store.markerInfo(in: other, environment.fileSystem)
      )
    }
    guard let first, let second else { return false }
    return first.device == second.device && first.inode == second.inode
  }

  /// The last component of `place`, in the directory that `path` is in.
  static func beside(_ path: String, _ place: String) -> String {
    let name = place.split(separator: "/").last.map(String.init) ?? place
    guard let slash = path.lastIndex(of: "/") else { return name }
    return String(path[...slash]) + name
  }
}
