import ArgumentParser
import RoostCluster

/// `roost ring`: how data lie on several stores, and what moves when these change.
struct RingCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ring",
    abstract: "Show how data lie on several stores, and what moves when these change.",
    discussion: """
      EXAMPLES
        roost ring compare --from 4 --to 5      what a fifth server would move
      """,
    subcommands: [RingCompare.self])
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
