import ArgumentParser
import RoostCluster

/// `roost ring`: how data lie on several stores, and what moves when these change.
struct RingCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ring",
    abstract: "Show how data lie on several stores, and what moves when these change.",
    discussion: """
      EXAMPLES
        roost ring ./disk1                      draw the ring of a database
        roost ring ./disk1 --add disk5:100      what a fifth store would move
        roost ring compare --from 4 --to 5      the same in numbers, without a database
      """,
    subcommands: [RingShow.self, RingCompare.self], defaultSubcommand: RingShow.self)
}

extension Failure {
  init(_ error: RingError) {
    let status: ExitStatus =
      switch error.code {
      case .damaged: .damage
      case .newerFormat: .newerFormat
      case .staleMove: .software
      default: .usage
      }
    self.init(status, error.message + (error.offset.map { " (offset \($0))" } ?? ""))
  }
}
