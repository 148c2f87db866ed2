import ArgumentParser
import RoostStorage

/// `roost scan`: shows the keys and values of a range, in order.
struct Scan: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show keys and values in order.",
    discussion: """
      A line a record: the key, a tab, the value.

      EXAMPLES
        roost scan ./db
        roost scan ./db --prefix u: --limit 3 --json
        roost scan ./db --from a --to b --keys-only
        roost scan ./db --reverse --limit 1     the last key
        roost scan ./db --prefix u: --count

      \(BytesOptions.help)
      With --json each line is {"key":…,"value":…}, in which bytes that are not
      UTF-8 are {"hex":"00ff"}; `roost import --format jsonl` takes it back.
      """)

  @OptionGroup var directory: DirectoryArgument
  @OptionGroup var range: RangeOptions
  @Option(help: "At most so many records.") var limit: Int?
  @Flag(help: "From the last key to the first.") var reverse = false
  @Flag(help: "Keys without their values.") var keysOnly = false
  @Flag(help: "A JSON object a line.") var json = false
  @Flag(help: "Only how many records there are.") var count = false
  @OptionGroup var tree: TreeOption
  @OptionGroup var bytes: BytesOptions

  func validate() throws {
    if let limit, limit < 0 { throw ValidationError("--limit must not be negative.") }
    if count && (json || keysOnly) {
      throw ValidationError("--count goes with neither --json nor --keys-only.")
    }
  }

  func run() throws {
    let range = try self.range.range(bytes)
    try withStore(directory.directory) { store in
      var cursor = try store.requireTree(tree.tree).cursor(range, nil)
      let found = try show(&cursor, limit ?? .max)
      if count { try Output.standard.line("\(found)") }
      // Before the store is closed: a reader that has gone is noticed now.
      try Output.standard.flush()
    }
  }

  private func show(_ cursor: inout Cursor, _ limit: Int) throws -> Int {
    let output = Output.standard
    let jsonLines = JSONLinesWriter(output: output)
    var found = 0
    while found < limit, try reverse ? cursor.previous() : cursor.next() {
      found += 1
      if count { continue }
      if json {
        if keysOnly {
          try jsonLines.write(key: cursor.key)
        } else {
          try jsonLines.write(key: cursor.key, value: cursor.value)
        }
        continue
      }
      bytes.append(cursor.key, to: &output.buffer)
      if !keysOnly {
        output.buffer.append(UInt8(ascii: "\t"))
        bytes.append(cursor.value, to: &output.buffer)
      }
      output.buffer.append(UInt8(ascii: "\n"))
      try output.flushIfFull()
    }
    return found
  }
}
