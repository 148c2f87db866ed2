import ArgumentParser

@main
struct RoostCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "roost")
}
