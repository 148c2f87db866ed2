import ArgumentParser
import RoostStorage

/// `roost put`: stores one value.
struct Put: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Store a value under a key.",
    discussion: """
      Creates the store and the tree where they are missing.

      EXAMPLES
        roost put ./db u:1 Ada
        roost put ./db photo - < cat.jpg        the value is what comes in
        roost put ./db 'two\\nlines' '\\xff\\x00'  escaped bytes
        roost put ./db --hex ff00 0102
        roost put ./db --sync u:1 Ada           returns once it is on the disk
        roost put ./db -- -key -value           what begins with a dash

      \(BytesOptions.help)
      """)

  @OptionGroup var directory: DirectoryArgument
  @Argument(help: "The key, 1 to 65,535 bytes.") var key: String
  @Argument(help: "The value; - reads it from standard input, as it is.") var value: String
  @OptionGroup var tree: TreeOption
  @Flag(help: "Return once the write would survive power loss.") var sync = false
  @OptionGroup var bytes: BytesOptions

  func run() throws {
    let key = try bytes.bytes(self.key, "key")
    // Before the store is created.
    if key.isEmpty { throw Failure.usage("a key must have at least one byte") }
    let value = value == "-" ? try Input(nil).readAll() : try bytes.bytes(self.value, "value")
    try withStore(directory.directory, creates: true) { store in
      try store.tree(tree.tree).put(key, value, sync ? .synced : .applied)
    }
  }
}
