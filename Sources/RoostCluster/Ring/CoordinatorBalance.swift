/// Puts another member of a list first where some members come first too often.
///
/// A member of s slots should coordinate s / replicas partitions, rounded up or down; that is always
/// possible (give every member of a list an equal part of it; flows of whole numbers exist within the
/// same bounds). Who comes first is no matter of data, so this moves nothing. It changes no list of a
/// ring that is balanced. Pure functions.
enum CoordinatorBalance {
  /// - Parameters:
  ///   - lists: places of members, `replicas` for each partition.
  ///   - loads: slots of each member.
  static func balance(_ lists: inout [Int], replicas: Int, loads: [Int]) {
    guard replicas > 1 else { return }
    let count = loads.count
    // How often `to` stands behind `from` in a list.
    var follows = Array(repeating: 0, count: count * count)
    var firsts = Array(repeating: 0, count: count)
    for start in stride(from: 0, to: lists.count, by: replicas) {
      firsts[lists[start]] += 1
      for place in start + 1..<start + replicas { follows[lists[start] * count + lists[place]] += 1 }
    }

    /// One partition from each member of the path goes to the next one.
    func hand(along path: [Int]) {
      for (from, to) in zip(path, path.dropFirst()) {
        for start in stride(from: 0, to: lists.count, by: replicas) where lists[start] == from {
          guard let place = (start + 1..<start + replicas).first(where: { lists[$0] == to }) else {
            continue
          }
          for other in start + 1..<start + replicas {
            follows[from * count + lists[other]] -= 1
            follows[to * count + (other == place ? from : lists[other])] += 1
          }
          lists.swapAt(start, place)
          break
        }
      }
      firsts[path[0]] -= 1
      firsts[path[path.count - 1]] += 1
    }

    func path(from isStart: (Int) -> Bool, to isEnd: (Int) -> Bool) -> [Int]? {
      var before = Array(repeating: -1, count: count)
      var queue = (0..<count).filter(isStart)
      for member in queue { before[member] = member }
      var next = 0
      while next < queue.count {
        let from = queue[next]
        next += 1
        if isEnd(from) {
          var path = [from]
          while before[path[path.count - 1]] != path[path.count - 1] {
            path.append(before[path[path.count - 1]])
          }
          return path.reversed()
        }
        for to in 0..<count where before[to] < 0 && follows[from * count + to] > 0 {
          before[to] = from
          queue.append(to)
        }
      }
      return nil
    }

    let least = loads.map { $0 / replicas }
    let most = loads.map { ($0 + replicas - 1) / replicas }
    while let path = path(from: { firsts[$0] > most[$0] }, to: { firsts[$0] < most[$0] }) {
      hand(along: path)
    }
    while let path = path(from: { firsts[$0] > least[$0] }, to: { firsts[$0] < least[$0] }) {
      hand(along: path)
    }
  }
}
