/// Partition numbers as people read them: `3, 7–12, 40`.
package enum PartitionList {
  /// - Parameter limit: of runs; what is behind them is counted.
  package static func text(_ partitions: [Int], atMost limit: Int = 40) -> String {
    var parts: [String] = []
    var index = 0
    let sorted = partitions.sorted()
    while index < sorted.count, parts.count < limit {
      var end = index
      while end + 1 < sorted.count, sorted[end + 1] == sorted[end] + 1 { end += 1 }
      parts.append(end == index ? "\(sorted[index])" : "\(sorted[index])–\(sorted[end])")
      index = end + 1
    }
    let text = parts.joined(separator: ", ")
    return index < sorted.count ? text + " and \(sorted.count - index) more" : text
  }
}
