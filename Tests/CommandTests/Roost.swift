import Foundation
import TestSupport
import Testing

@testable import RoostCommand

/// The tool as users run it: the executable that was built beside the tests, in a process of its
/// own.
struct Roost {
  struct Outcome {
    var status: Int32
    var isSignal: Bool
    var output: [UInt8]
    var errors: String

    var text: String { String(decoding: output, as: UTF8.self) }
    var lines: [Substring] { text.split(separator: "\n") }
  }

  /// A directory for the stores and files of one test.
  let scratch: TemporaryDirectory

  init() throws { scratch = try TemporaryDirectory() }

  func path(_ name: String) -> String { scratch.appending(name).string }

  /// Where the executable is: in the folder of the test bundle, or where `ROOST_COMMAND` says.
  static let executable: String = {
    if let path = ProcessInfo.processInfo.environment["ROOST_COMMAND"] { return path }
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    let places = [own] + CommandLine.arguments
    for place in places {
      var folder = URL(fileURLWithPath: place).deletingLastPathComponent()
      while folder.path != "/" {
        let file = folder.appendingPathComponent("roost")
        if (try? file.resourceValues(forKeys: [.isRegularFileKey]))?.isRegularFile == true {
          return file.path
        }
        folder.deleteLastPathComponent()
      }
    }
    return "roost"
  }()

  /// Runs the tool to its end.
  func run(
    _ arguments: String..., input: [UInt8] = [], environment: [String: String] = [:]
  ) throws -> Outcome {
    try run(arguments, input: input, environment: environment)
  }

  func run(
    _ arguments: [String], input: [UInt8] = [], environment: [String: String] = [:]
  ) throws -> Outcome {
    try start(Self.executable, arguments, input: input, environment: environment)
  }

  /// Runs a shell command, in which `$ROOST` is the tool.
  func shell(_ command: String) throws -> Outcome {
    try start("/bin/bash", ["-c", command], input: [], environment: ["ROOST": Self.executable])
  }

  // Files rather than pipes: nothing fills up while nobody reads.
  func start(
    _ executable: String, _ arguments: [String], input: [UInt8] = [], environment: [String: String] = [:]
  ) throws -> Outcome {
    let name = UUID().uuidString
    let files = ["in", "out", "err"].map { path("\(name).\($0)") }
    defer { for file in files { try? FileManager.default.removeItem(atPath: file) } }
    try Data(input).write(to: URL(fileURLWithPath: files[0]))
    for file in files.dropFirst() { try Data().write(to: URL(fileURLWithPath: file)) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: executable)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardInput = try FileHandle(forReadingFrom: URL(fileURLWithPath: files[0]))
    process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: files[1]))
    process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: files[2]))
    try process.run()
    process.waitUntilExit()
    return Outcome(
      status: process.terminationStatus, isSignal: process.terminationReason == .uncaughtSignal,
      output: Array(try Data(contentsOf: URL(fileURLWithPath: files[1]))),
      errors: String(decoding: try Data(contentsOf: URL(fileURLWithPath: files[2])), as: UTF8.self))
  }

  /// A small store: a tree with text and other bytes, some of it in a table, the rest in the log.
  @discardableResult
  func makeStore(_ name: String = "db") throws -> String {
    let store = path(name)
    let first = try run(
      "shell", store, "--create", input: Array("put u:1 Ada\nput u:2 Grace\nput gone 1\n".utf8))
    try #require(first.status == 0 && first.errors.isEmpty, "\(first.errors)")
    // The next process flushes what it replays.
    let second = try run(
      "shell", store, input: Array("delete gone\ndeleterange x y\nput \\xff\\x00 \\x01\n".utf8))
    try #require(second.status == 0 && second.errors.isEmpty, "\(second.errors)")
    return store
  }

  func file(_ store: String, _ suffix: String) throws -> String {
    let names = try FileManager.default.contentsOfDirectory(atPath: store).sorted()
    return store + "/" + (try #require(names.last { $0.hasSuffix(suffix) }))
  }

  func bytes(_ path: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: path)))
  }

  func write(_ bytes: [UInt8], _ path: String) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: path))
  }
}
