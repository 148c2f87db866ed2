import ArgumentParser
import RoostStorage

/// `roost delete`: deletes keys, or a range of them.
struct Delete: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Delete keys, or all keys of a range.",
    discussion: """
      Deleting what is not there is no error. All of one command is deleted together.

      EXAMPLES
        roost delete ./db u:1 u:2
        roost delete ./db --prefix u:           all keys that begin with u:
        roost delete ./db --from a --to b       from a up to, not including, b

      \(BytesOptions.help)
      """)

  @OptionGroup var directory: DirectoryArgument
  @Argument(help: "The keys.") var keys: [String] = []
  @OptionGroup var range: RangeOptions
  @OptionGroup var tree: TreeOption
  @Flag(help: "Return once the deletion would survive power loss.") var sync = false
  @OptionGroup var bytes: BytesOptions

  func validate() throws {
    let hasRange = range.prefix != nil || range.from != nil || range.to != nil
    if keys.isEmpty && !hasRange {
      throw ValidationError("Name keys, or a range with --prefix, --from and --to.")
    }
    if !keys.isEmpty && hasRange { throw ValidationError("Name either keys or a range.") }
    // A missing bound would be a whole tree by a slip of the hand.
    if range.prefix == nil, hasRange, range.from == nil || range.to == nil {
      throw ValidationError(
        "A range needs both --from and --to; `roost drop` removes a whole tree.")
    }
  }

  func run() throws {
    let keys = try self.keys.map { try bytes.bytes($0, "key") }
    let range = try self.range.range(bytes)
    try withStore(directory.directory) { store in
      let tree = try store.requireTree(self.tree.tree)
      try store.write(sync ? .synced : .applied) { batch in
        for key in keys { batch.delete(key, in: tree) }
        guard keys.isEmpty else { return }
        guard let upper = range.upper, let lower = range.lower else {
          throw Failure.usage("that prefix has no end: no key is above it")
        }
        batch.deleteRange(from: lower, to: upper, in: tree)
      }
    }
  }
}
