import RoostStorage

/// What the child of the kill tests writes: batch after batch, each a function of its number, so
/// that the contents after n batches are known.
///
/// A batch puts a few records into three trees, removes those of an older batch (every tenth
/// stays), puts a key that a later batch removes with others by range, and counts the batches in
/// each tree.
public struct KillPlan: Sendable {
  public static let treeNames = ["a", "b", "c"]
  static let lifetime = 40

  public init() {}

  public static func options(_ access: StoreOptions.LogAccess) -> StoreOptions {
    var options = StoreOptions()
    options.memtableBytes = 64 << 10
    options.logSegmentBytes = 128 << 10
    options.logLimitBytes = 1 << 20
    options.blockCacheBytes = 1 << 20
    options.logAccess = access
    options.stallDeadline = .seconds(1_200)
    return options
  }

  public static var treeOptions: TreeOptions {
    var options = TreeOptions()
    options.tableBytes = 64 << 10
    options.blockBytes = 1024
    return options
  }

  public static let counter = "next"

  static func mix(_ number: Int) -> UInt64 {
    var z = UInt64(truncatingIfNeeded: number &+ 1) &* 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    return z ^ (z >> 29)
  }

  static func records(_ batch: Int) -> [(tree: Int, key: String, value: [UInt8])] {
    (0..<(1 + Int(mix(batch) % 12))).map { index in
      let word = mix(batch &* 16 &+ index)
      let value = [UInt8](repeating: UInt8(truncatingIfNeeded: word), count: Int(word >> 40 % 120))
      return (Int(word % 3), "k" + String(word, radix: 16), value)
    }
  }

  static func rangeKey(_ batch: Int) -> String {
    let digits = String(batch)
    return "r" + String(repeating: "0", count: max(0, 9 - digits.count)) + digits
  }

  /// Writes batch number `batch`.
  public static func write(_ batch: Int, _ store: Store, _ trees: [Tree]) throws {
    try store.write(batch % 8 == 0 ? .synced : .applied) { write in
      for record in records(batch) { write.put(record.key, record.value, in: trees[record.tree]) }
      let old = batch - lifetime
      if old >= 0, old % 10 != 0 {
        for record in records(old) { write.delete(record.key, in: trees[record.tree]) }
      }
      write.put(rangeKey(batch), "r", in: trees[batch % 3])
      if batch >= 64, batch % 16 == 0 {
        for tree in trees {
          write.deleteRange(from: rangeKey(batch - 64), to: rangeKey(batch - 48), in: tree)
        }
      }
      for tree in trees { write.put(counter, String(batch + 1), in: tree) }
    }
  }

  /// What a tree holds after `count` batches.
  public static func contents(_ tree: Int, after count: Int) -> [String: [UInt8]] {
    var contents: [String: [UInt8]] = [:]
    for batch in 0..<count where batch % 10 == 0 || batch + lifetime >= count {
      for record in records(batch) where record.tree == tree { contents[record.key] = record.value }
    }
    // The last batch that removed a range removed all before its end.
    let last = (count - 1) / 16 * 16
    let removed = last >= 64 ? last - 48 : 0
    for batch in removed..<max(removed, count) where batch % 3 == tree {
      contents[rangeKey(batch)] = Array("r".utf8)
    }
    if count > 0 { contents[counter] = Array(String(count).utf8) }
    return contents
  }
}
