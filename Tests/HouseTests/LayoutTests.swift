import Testing

/// The layout of the house: who may import whom, and what stays behind the seams.
// Budget: 5 s
@Suite struct LayoutTests {
  static let sources = Repository.files(in: "Sources", suffix: ".swift")
  static let tests = Repository.files(in: "Tests", suffix: ".swift")
  static let tools = Repository.files(in: "tools", suffix: ".swift")

  /// One issue a violation, so that each can be read and found.
  private func expectNone(_ violations: [Violation]) {
    for violation in violations { Issue.record("\(violation)") }
  }

  @Test func `the sources are found`() {
    #expect(Self.sources.count > 10)
    #expect(Self.tests.contains { $0.path == "Tests/HouseTests/LayoutTests.swift" })
  }

  @Test func `imports point down`() {
    expectNone(Self.sources.flatMap(Rules.strayImports))
  }

  @Test func `the outside world stays behind the seams`() {
    expectNone(Self.sources.flatMap(Rules.worldlyCalls))
  }

  @Test func `nothing is left unfinished`() {
    expectNone((Self.sources + Self.tools).flatMap(Rules.unfinished))
  }

  @Test func `lines fit`() {
    expectNone((Self.sources + Self.tests + Self.tools).flatMap(Rules.longLines))
  }

  @Test func `the thread sanitizer sees all locks`() {
    expectNone((Self.sources + Self.tests + Self.tools).flatMap(Rules.unseenLocks))
    #expect(Rules.unseenLocks(Repository.File(path: "a", text: "let a = Mutex(0)")).count == 1)
    #expect(Rules.unseenLocks(Repository.File(path: "a", text: "let a: Mutex<Int>")).count == 1)
  }

  @Test func `each file says what it is`() {
    expectNone((Self.sources + Self.tools).flatMap(Rules.undocumented))
  }

  @Test func `the manifest lets others depend on the package`() throws {
    let manifest = try #require(Repository.file("Package.swift"))
    let code = codeOnly(manifest.text)
    #expect(!code.contains("unsafeFlags"))
    #expect(code.contains("strictMemorySafety"))
    for peer in ["CRocksDB", "CLevelDB", "rocksdb", "leveldb"] {
      #expect(!manifest.text.contains(peer), "peers are linked by Benchmarks alone")
    }
  }

  /// A program that needs only the engine, or only the database in one process, builds no network.
  @Test func `the network is the network's alone`() throws {
    let manifest = try #require(Repository.file("Package.swift"))
    let targets = manifest.text.components(separatedBy: "\n    .").filter {
      $0.contains("package: \"swift-nio")
    }
    #expect(targets.count == 2)
    for target in targets {
      #expect(target.contains("name: \"RoostNetwork\"") || target.contains("name: \"NetworkTests\""))
    }
  }

  @Test func `every folder of the sources has its place in the drawing`() {
    let folders = Set(Self.sources.compactMap { Rules.layer($0.path) })
    #expect(folders.subtracting(Rules.imports.keys) == [])
  }
}

/// The rules themselves: each finds what it is there to find, and nothing else.
// Budget: 1 s
@Suite struct HouseRuleTests {
  private func file(
    _ text: String, at path: String = "Sources/RoostStorage/Sample.swift"
  ) -> Repository.File {
    Repository.File(path: path, text: text)
  }

  @Test(arguments: [
    ("Sources/RoostStorage/A.swift", "import Glibc"),
    ("Sources/RoostStorage/A.swift", "public import Foundation"),
    ("Sources/RoostStorage/A.swift", "@_exported import Roost"),
    ("Sources/RoostStorage/A.swift", "@_spi(Testing) internal import RoostSimulation"),
    ("Sources/RoostStorage/A.swift", "import struct RoostCluster.Ring"),
    ("Sources/RoostCausality/A.swift", "import RoostEnvironment"),
    ("Sources/RoostEnvironment/A.swift", "import Glibc"),
    ("Sources/RoostEnvironment/A.swift", "import RoostStorage"),
    ("Sources/RoostSimulation/A.swift", "import RoostStorage"),
    ("Sources/RoostTransactions/A.swift", "import RoostSimulation"),
    ("Sources/RoostCluster/A.swift", "import RoostTransactions"),
    ("Sources/Roost/A.swift", "import FoundationEssentials"),
    ("Sources/RoostCluster/Codec/A.swift", "import Foundation"),
    ("Sources/RoostNetwork/A.swift", "import Roost"),
    ("Sources/Roost/A.swift", "import ServiceLifecycle"),
    ("Sources/RoostNetwork/A.swift", "import RoostTransactions"),
    ("Sources/RoostCluster/A.swift", "import RoostNetwork"),
    ("Sources/RoostStorage/A.swift", "import NIOCore"),
    ("Sources/RoostCluster/A.swift", "import NIOCore"),
    ("Sources/Unknown/A.swift", "import RoostEnvironment"),
  ])
  func `a stray import is found`(path: String, line: String) {
    #expect(Rules.strayImports(file("// A.\n" + line, at: path)).map(\.line) == [2])
  }

  @Test(arguments: [
    ("Sources/RoostStorage/A.swift", "public import RoostEnvironment"),
    ("Sources/RoostStorage/A.swift", "import Synchronization"),
    ("Sources/RoostStorage/A.swift", "// import Glibc"),
    ("Sources/RoostStorage/A.swift", "let text = \"import Glibc\""),
    ("Sources/RoostEnvironment/POSIX/A.swift", "import Glibc"),
    ("Sources/RoostNetwork/Wire/A.swift", "import NIOSSL"),
    ("Sources/RoostNetwork/A.swift", "package import RoostCluster"),
    ("Sources/Roost/A.swift", "@_exported import RoostStorage"),
    ("Sources/Roost/Codec/A.swift", "import FoundationEssentials"),
  ])
  func `a drawn import passes`(path: String, line: String) {
    #expect(Rules.strayImports(file(line, at: path)) == [])
  }

  @Test(arguments: Rules.worldly)
  func `a call past the seams is found`(word: String) {
    #expect(Rules.worldlyCalls(file("let x = 1\nlet y = \(word)")).map(\.line) == [2])
    #expect(Rules.worldlyCalls(file("// \(word)")) == [])
    let edge = "Sources/RoostEnvironment/POSIX/A.swift"
    #expect(Rules.worldlyCalls(file("let y = \(word)", at: edge)) == [])
  }

  @Test func `unfinished work is found`() {
    #expect(Rules.unfinished(file("let x = try! f()")).count == 1)
    #expect(Rules.unfinished(file("/// Never uses try! here.")) == [])
    #expect(Rules.unfinished(file("// TO" + "DO later")).count == 1)
    #expect(Rules.unfinished(file("// FIX" + "ME")).count == 1)
    #expect(Rules.unfinished(file("let methodology = 1")) == [])
  }

  @Test func `a long line is found`() {
    let longest = String(repeating: "a", count: Rules.longestLine)
    #expect(Rules.longLines(file(longest)) == [])
    #expect(Rules.longLines(file("\n" + longest + "a")).map(\.line) == [2])
  }

  @Test func `a file that does not say what it is is found`() {
    #expect(Rules.undocumented(file("import A\n\nstruct B {}")).map(\.line) == [3])
    #expect(Rules.undocumented(file("import A\n\n/// B.\nstruct B {}")) == [])
    #expect(Rules.undocumented(file("extension B {\n  /// C.\n  func c() {}\n}")) == [])
    #expect(Rules.undocumented(file("extension B {\n  func c() {}\n}")).count == 1)
  }

  @Test(arguments: [
    ("a // b", "a     "),
    ("a /* b /* c */ d */ e", "a                   e"),
    ("f(\"a\\\"b\") + 1", "f(      ) + 1"),
    ("#\"a\\\"# + b", "       + b"),
    ("\"\"\"\na \"b\" c\n\"\"\"d", "   \n       \n   d"),
    ("\"//\" a", "     a"),
  ])
  func `prose is taken out of code`(source: String, code: String) {
    #expect(codeOnly(source) == code)
  }
}
