import ArgumentParser
import RoostStorage

/// `roost get`: shows one value.
struct Get: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show the value of a key.",
    discussion: """
      An absent key shows nothing on standard output and ends with code 1.

      EXAMPLES
        roost get ./db u:1
        roost get ./db photo --raw > cat.jpg    the bytes, untouched
        roost get ./db u:1 --json               {"key":"u:1","value":"Ada"}

      \(BytesOptions.help)
      """)

  @OptionGroup var directory: DirectoryArgument
  @Argument(help: "The key.") var key: String
  @OptionGroup var tree: TreeOption
  @Flag(help: "Write the value as it is, without a newline.") var raw = false
  @Flag(help: "Write a JSON object with key and value.") var json = false
  @OptionGroup var bytes: BytesOptions

  func validate() throws {
    if raw && json { throw ValidationError("--raw and --json exclude each other.") }
  }

  func run() throws {
    let key = try bytes.bytes(self.key, "key")
    let value = try withStore(directory.directory) { try $0.requireTree(tree.tree).get(key) }
    guard let value else { throw Failure(.absent, "there is no key `\(bytes.text(key))`") }
    let output = Output.standard
    if raw {
      output.buffer.append(contentsOf: value)
    } else if json {
      try unsafe JSONLinesWriter(output: output).write(key: key.span.bytes, value: value.span.bytes)
    } else {
      try output.line(bytes.text(value))
    }
  }
}
