import ArgumentParser
import RoostStorage

/// `roost stats`: shows what a store holds and has done.
struct Stats: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show what a store holds: levels as a picture, log, cache, stalls.",
    discussion: """
      Opens the store, so what the log held is replayed and flushed first. Counters are
      those since then.

      EXAMPLES
        roost stats ./db
        roost stats ./db --json | jq .trees
      """)

  @OptionGroup var directory: DirectoryArgument
  @Flag(help: "A JSON object.") var json = false

  func run() throws {
    let statistics = try withStore(directory.directory) { $0.statistics }
    if json {
      var writer = JSONWriter()
      StatsJSON.append(statistics, to: &writer)
      try Output.standard.line(writer)
    } else {
      for line in StatsPicture.lines(statistics) { try Output.standard.line(line) }
    }
  }
}
