@testable import RoostStorage

/// A cursor beside a model of where it should stand. It may be held across any other operation:
/// what it shows is what was there when it was made.
final class HeldCursor {
  private enum Position {
    case start
    case at(Int)
    case beforeFirst
    case afterLast
  }

  let tree: Int
  private var cursor: Cursor
  private let values: [Int32]
  private let ranks: Range<Int>
  private var position = Position.start

  init(
    _ handle: Tree, _ tree: Int, _ bounds: ModelBounds, _ values: [Int32], _ plan: ModelPlan,
    snapshot: ModelRunner.HeldSnapshot?
  ) throws {
    self.tree = tree
    self.values = values
    ranks = plan.ranks(bounds)
    if let snapshot {
      switch bounds {
      case .prefix(let prefix): cursor = try handle.cursor(prefix: prefix, at: snapshot.snapshot)
      case .range(let from, let to):
        cursor = try handle.cursor(from: plan.keys[from], to: plan.keys[to], at: snapshot.snapshot)
      case .all: cursor = try handle.cursor(at: snapshot.snapshot)
      case .from(let from):
        cursor = try handle.cursor(KeyRange(lower: plan.keys[from]), snapshot.snapshot.sequence)
      case .to(let to):
        cursor = try handle.cursor(KeyRange(upper: plan.keys[to]), snapshot.snapshot.sequence)
      }
    } else {
      switch bounds {
      case .all: cursor = try handle.cursor()
      case .prefix(let prefix): cursor = try handle.cursor(prefix: prefix)
      case .range(let from, let to):
        cursor = try handle.cursor(from: plan.keys[from], to: plan.keys[to])
      case .from(let from): cursor = try handle.cursor(from: plan.keys[from])
      case .to(let to): cursor = try handle.cursor(to: plan.keys[to])
      }
    }
  }

  func move(_ move: ModelMove, _ plan: ModelPlan) throws {
    switch move {
    case .next(let count):
      for _ in 0..<count { if try !step(forward: true, plan) { return } }
    case .previous(let count):
      for _ in 0..<count { if try !step(forward: false, plan) { return } }
    case .seek(let key):
      found = try cursor.seek(to: plan.keys[key])
      try settle(first(from: max(key, ranks.lowerBound)), orElse: .afterLast, plan, move)
    case .seekBefore(let key):
      found = try cursor.seek(before: plan.keys[key])
      try settle(last(before: min(key, ranks.upperBound)), orElse: .beforeFirst, plan, move)
    case .first:
      found = try cursor.seekToFirst()
      try settle(first(from: ranks.lowerBound), orElse: .afterLast, plan, move)
    case .last:
      found = try cursor.seekToLast()
      try settle(last(before: ranks.upperBound), orElse: .beforeFirst, plan, move)
    }
  }

  private var found = false

  /// - Returns: whether there may be more.
  private func step(forward: Bool, _ plan: ModelPlan) throws -> Bool {
    let target: Int?
    switch (position, forward) {
    case (.at(let rank), true): target = first(from: rank + 1)
    case (.at(let rank), false): target = last(before: rank)
    case (.afterLast, true), (.beforeFirst, false): target = nil
    case (.start, true), (.beforeFirst, true):
      found = try cursor.next()
      try settle(first(from: ranks.lowerBound), orElse: .afterLast, plan, .first)
      return isAtKey
    case (.start, false), (.afterLast, false):
      found = try cursor.previous()
      try settle(last(before: ranks.upperBound), orElse: .beforeFirst, plan, .last)
      return isAtKey
    }
    found = try forward ? cursor.next() : cursor.previous()
    try settle(
      target, orElse: forward ? .afterLast : .beforeFirst, plan, forward ? .next(1) : .previous(1))
    return isAtKey
  }

  private var isAtKey: Bool { if case .at = position { true } else { false } }

  private func first(from rank: Int) -> Int? {
    var rank = rank
    while rank < ranks.upperBound {
      if values[rank] >= 0 { return rank }
      rank += 1
    }
    return nil
  }

  private func last(before rank: Int) -> Int? {
    var rank = rank - 1
    while rank >= ranks.lowerBound {
      if values[rank] >= 0 { return rank }
      rank -= 1
    }
    return nil
  }

  private func settle(
    _ target: Int?, orElse end: Position, _ plan: ModelPlan, _ move: ModelMove
  ) throws {
    try require(found == cursor.isPositioned, "isPositioned differs from what the move returned")
    guard let target else {
      try require(
        !found,
        "cursor on tree \(tree), \(move) from \(position): at key \(rank(plan)), expected none")
      position = end
      return
    }
    try require(
      found, "cursor on tree \(tree), \(move) from \(position): nowhere, expected key \(target)")
    let key = ByteView(cursor.key)
    let isKey = plan.keys[target].withByteView { $0 == key }
    let value = ByteView(cursor.value)
    let right = isKey && plan.values[Int(values[target])].withByteView { $0 == value }
    if !right {
      throw Mismatch(
        """
        cursor on tree \(tree), \(move) from \(position): at key \(rank(plan)) with \
        \(plan.name(of: cursor.valueBytes)), expected key \(target) with value \(values[target])
        """)
    }
    position = .at(target)
  }

  private func rank(_ plan: ModelPlan) -> String {
    plan.keys.firstIndex(of: cursor.keyBytes).map(String.init) ?? "unknown \(cursor.keyBytes)"
  }
}
