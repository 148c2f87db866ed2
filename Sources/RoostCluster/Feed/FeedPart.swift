/// What one store has told of its partitions' changes: a page of them, or a part of one. A plain value.
struct FeedPart: Sendable {
  struct Found: Sendable {
    var event: FeedChange.Event
    /// How many steps were complete before it.
    var step: Int
    /// Of the change; 0 where a partition begins again.
    var number: UInt64
  }

  /// Those that it was asked for, ascending.
  var partitions: [Int]
  /// Of each partition that was read, in turn: up to where.
  var steps: [FeedTrail.Step]
  /// In the order of the steps.
  var found: [Found]
  /// The partition to go on with.
  var next: Int
  /// Whether all partitions were read up to ``settled``.
  var isAtEnd: Bool
  /// All changes up to this number were in the store.
  var settled: UInt64
}

extension ChangePage {
  /// A page of what several stores have told.
  ///
  /// - Parameters:
  ///   - token: after which it goes on; `nil` for from the beginning.
  ///   - start: the token's position.
  ///   - parts: no two of one partition, and all partitions together.
  init(keyspace: UInt64, after token: ChangeToken?, _ start: FeedPosition, _ parts: [FeedPart]) {
    let count = start.places.count
    func turn(_ partition: Int) -> Int { (partition - start.next + count) % count }
    // The one that had the least of its turn goes first.
    let next = parts.filter { !$0.isAtEnd }.map(\.next).min { turn($0) < turn($1) } ?? start.next
    self.init(token: token ?? ChangeToken(keyspace: keyspace, start))
    isAtEnd = parts.allSatisfy(\.isAtEnd)
    if next == start.next, parts.allSatisfy(\.steps.isEmpty) { return }
    let trail = FeedTrail(keyspace: keyspace, start: start, steps: parts.flatMap(\.steps))
    var stepsBefore = 0
    for part in parts {
      for found in part.found {
        changes.append(
          FeedChange(
            event: found.event,
            token: ChangeToken(trail, stepsDone: stepsBefore + found.step, number: found.number)))
      }
      stepsBefore += part.steps.count
    }
    var end = trail.position(trail.steps.count, nil)
    end.next = next
    for part in parts where part.isAtEnd {
      // All are read up to the bound: one number for all, which keeps tokens short.
      for partition in part.partitions where end.places[partition].tenure != nil {
        end.places[partition].number = max(end.places[partition].number, part.settled)
      }
    }
    self.token = ChangeToken(keyspace: keyspace, end)
  }

  /// The same, with so many changes at the most.
  mutating func cut(to limit: Int) {
    guard changes.count > limit, limit >= 1 else { return }
    changes.removeSubrange(limit...)
    token = changes[limit - 1].token
    isAtEnd = false
  }
}
