/// Trees by id, for the commit leader, who looks one up for each operation of a batch: found by
/// bisection of a few numbers, which costs a tenth of a dictionary's hashing.
///
/// Not thread-safe.
struct TreeTable {
  /// Ascending; the tree of each stands at the same place in `trees`.
  private var ids: [UInt64] = []
  private var trees: [TreeCore] = []

  /// The first place whose id is not below `id`.
  @inline(__always)
  private func place(_ id: UInt64) -> Int {
    var low = 0
    var high = ids.count
    while low < high {
      let middle = (low &+ high) >> 1
      if ids[middle] < id { low = middle &+ 1 } else { high = middle }
    }
    return low
  }

  @inline(__always)
  subscript(_ id: UInt64) -> TreeCore? {
    get {
      let place = place(id)
      return place < ids.count && ids[place] == id ? trees[place] : nil
    }
    set {
      let place = place(id)
      let isThere = place < ids.count && ids[place] == id
      switch (isThere, newValue) {
      case (true, let tree?): trees[place] = tree
      case (true, nil):
        ids.remove(at: place)
        trees.remove(at: place)
      case (false, let tree?):
        ids.insert(id, at: place)
        trees.insert(tree, at: place)
      case (false, nil): break
      }
    }
  }

  /// The tree of that id without a retain: valid while the table holds it. O(log n).
  @inline(__always)
  func unretained(_ id: UInt64) -> Unmanaged<TreeCore>? {
    let place = place(id)
    guard place < ids.count && ids[place] == id else { return nil }
    return unsafe Unmanaged.passUnretained(trees[place])
  }

  /// Whether there is one. O(log n).
  @inline(__always)
  func contains(_ id: UInt64) -> Bool {
    let place = place(id)
    return place < ids.count && ids[place] == id
  }
}
