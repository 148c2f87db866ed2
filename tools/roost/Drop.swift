import ArgumentParser
import RoostStorage

/// `roost drop`: removes a tree.
struct Drop: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Remove a tree and all it holds.",
    discussion: """
      EXAMPLES
        roost drop ./db users
      """)

  @OptionGroup var directory: DirectoryArgument
  @Argument(help: "The tree.") var name: String

  func run() throws {
    try DatabaseDirectory.requirePlain(
      directory.directory, instead: "`roost delete --from --to` deletes the keys of a keyspace")
    try withStore(directory.directory) { store in
      _ = try store.requireTree(name)
      try store.dropTree(name)
    }
  }
}
