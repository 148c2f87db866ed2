import ArgumentParser
import RoostStorage

/// `roost trees`: names the trees of a store.
struct Trees: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Name the trees of a store.",
    discussion: """
      EXAMPLES
        roost trees ./db
        roost trees ./db --json                 ["default","users"]
      """)

  @OptionGroup var directory: DirectoryArgument
  @Flag(help: "A JSON array.") var json = false

  func run() throws {
    let names = try withStore(directory.directory) { $0.treeNames }
    guard json else {
      for name in names { try Output.standard.line(TextEscape.text(Array(name.utf8))) }
      return
    }
    var writer = JSONWriter()
    writer.beginArray()
    for name in names { writer.value(name) }
    writer.endArray()
    try Output.standard.line(writer)
  }
}
