import ArgumentParser
import Glibc
import RoostEnvironment
import RoostStorage
import SystemPackage

/// `roost tour`: real data in, a kill in mid-write, everything still there. Works in a directory of
/// its own, which it removes.
struct Tour: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "See it work: real data in, a kill in mid-write, likes that merge, money that stays.",
    discussion: """
      Takes a few seconds, works in a temporary directory and removes it. What it shows it
      also checks; it ends with another code than 0 if anything is not as it should be.

      EXAMPLES
        roost tour
        roost tour --data UnicodeData.txt
      """)

  @Option(
    help: "The Unicode character database's UnicodeData.txt; found in the source tree otherwise.")
  var data: String?
  @Option(help: "Kill the writing child once it has acknowledged so many records.")
  var killAfter: UInt64 = 300_000

  func run() async throws {
    let input = try Input(data ?? Self.findData())
    let scratch = try ScratchDirectory()
    defer { scratch.remove() }
    let start = ContinuousClock.now
    let unicode = UnicodeTour(directory: scratch.appending("unicode"))
    try unicode.run(input, isWhole: data == nil)
    try KillTour(directory: scratch.appending("killed"), killAfter: killAfter).run()
    try unicode.dumpBlock()
    try LikesTour(directory: scratch.appending("likes")).run()
    try await BankTour(directory: scratch.appending("bank")).run()
    try SongsTour(directory: scratch.appending("songs")).run()
    try await ClusterTour(directory: scratch.appending("cluster")).run()
    let output = Output.standard
    try output.line(
      "\nThe tour took \(Format.duration(start.duration(to: .now))). Everything it claims, it "
        + "checked."
    )
    try output.line("Next: roost --help, or roost put ./db hello world")
  }

  /// Looks beside the executable's build directory, then where this file was compiled.
  private static func findData() throws -> String {
    let fileSystem = Environment.posix().fileSystem
    let fixture = "Tests/Fixtures/UnicodeData.txt"
    var places: [FilePath] = []
    if let executable = try? executablePath() { places.append(executable) }
    places.append(FilePath(#filePath))
    for place in places {
      var directory = place.removingLastComponent()
      while directory.lastComponent != nil {
        let path = directory.pushing(FilePath(fixture))
        if try fileSystem.info(of: path) != nil { return path.string }
        directory.removeLastComponent()
      }
    }
    throw Failure(.notFound, "\(fixture) was not found: name a copy with --data")
  }

  private static func executablePath() throws -> FilePath? {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = unsafe buffer.withUnsafeMutableBytes { bytes in
      unsafe readlink(
        "/proc/self/exe", bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count)
    }
    guard count > 0 else { return nil }
    return FilePath(String(decoding: buffer.prefix(count), as: UTF8.self))
  }
}

/// How the tour's steps are told.
enum TourText {
  static func step(_ number: Int, _ title: String, _ explanation: String) throws {
    let output = Output.standard
    try output.line("\n\(number). \(title)")
    for line in explanation.split(separator: "\n") { try output.line("   \(line)") }
    try output.line()
    try output.flush()
  }

  static func line(_ text: String) throws { try Output.standard.line("     " + text) }

  /// What the tour claims.
  static func check(_ isTrue: Bool, _ claim: @autoclosure () -> String) throws {
    if !isTrue { throw Failure(.software, "the tour found something wrong: \(claim())") }
  }
}
