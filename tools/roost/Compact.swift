import ArgumentParser
import RoostStorage

/// `roost compact`: merges tables.
struct Compact: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Merge tables into one sorted run, dropping what is deleted or overwritten.",
    discussion: """
      Needs as much free space as the tables take that are merged.

      EXAMPLES
        roost compact ./db                      all trees
        roost compact ./db --tree users
        roost compact ./db --tree users --from a --to b
      """)

  @OptionGroup var directory: DirectoryArgument
  @Option(help: "Only this tree.") var tree: String?
  @OptionGroup var range: RangeOptions
  @OptionGroup var bytes: BytesOptions

  func run() throws {
    let range = try self.range.range(bytes)
    try withStore(directory.directory) { store in
      let before = store.statistics
      let start = ContinuousClock.now
      if tree == nil && range == .all {
        try store.compact()
      } else {
        try store.requireTree(tree ?? "default").compact(from: range.lower, to: range.upper)
      }
      let time = start.duration(to: .now)
      let after = store.statistics
      try Output.standard.line(
        "\(Self.size(before)) became \(Self.size(after)) in \(Format.duration(time))")
    }
  }

  private static func size(_ statistics: StoreStatistics) -> String {
    let levels = statistics.trees.flatMap(\.levels)
    let tables = levels.reduce(0) { $0 + $1.tables }
    let bytes = levels.reduce(0) { $0 + $1.byteCount }
    return "\(Format.count(tables, "table")) of \(Format.bytes(bytes))"
  }
}
