import RoostCluster
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostNetwork

/// How nodes introduce themselves, and whom they take up with.
// Budget: 2 s
@Suite struct HelloTests {
  private let mine = Hello.test(node: 1)

  private func refusal(
    _ other: Hello, expecting: UInt64? = 2, bound: UInt64? = nil, age: UInt64 = 0
  ) -> TransportError? {
    do throws(TransportError) {
      _ = try mine.accept(
        other, expecting: expecting.map(TestNode.id), clockBound: bound, age: age)
      return nil
    } catch { return error }
  }

  private func other(_ change: (inout Hello) -> Void) -> Hello {
    var hello = Hello.test(node: 2)
    change(&hello)
    return hello
  }

  @Test func `hellos and notices go round`() throws {
    var hello = mine
    #expect(try Hello(decoding: hello.encoded) == hello)
    hello.database = nil
    hello.address = "[::1]:7420"
    #expect(try Hello(decoding: hello.encoded) == hello)
    // Later versions may say more.
    #expect(try Hello(decoding: hello.encoded + [1, 2, 3]) == hello)
    let notice = Notice(TransportError(.overloaded, "später", mayHaveArrived: true))
    #expect(try Notice(decoding: notice.encoded) == notice)
    #expect(notice.error.code == .overloaded)
    #expect(notice.error.mayHaveArrived)
  }

  @Test func `what is cut off is refused, and any change reads or is refused`() throws {
    let bytes = mine.encoded
    for count in 0..<bytes.count {
      #expect(throws: TransportError.self) { try Hello(decoding: Array(bytes.prefix(count))) }
    }
    try withSeeds("HelloTests", count: TestSize.of(quick: 200, full: 2_000)) { _, random in
      var damaged = bytes
      for _ in 0...random.below(3) {
        damaged[random.below(damaged.count)] = UInt8(truncatingIfNeeded: random.next())
      }
      if let hello = try? Hello(decoding: damaged) {
        try #require(Hello.windows.contains(hello.window) && Hello.bodies.contains(hello.largestBody))
        try #require(hello.node.rawValue != 0 && !hello.cluster.isEmpty)
      }
    }
  }

  @Test func `a long reason is cut to what may be sent`() throws {
    let long = Notice(TransportError(.failed, String(repeating: "é", count: 5_000)))
    let read = try Notice(decoding: long.encoded)
    #expect(read.text.utf8.count <= Notice.longestText)
    #expect(read.text.utf8.count > Notice.longestText / 2)
  }

  @Test func `nodes of one kind take up with each other`() throws {
    #expect(refusal(other { _ in }) == nil)
    #expect(refusal(other { $0.database = nil }) == nil)
    #expect(refusal(other { $0.versions = 1...9 }) == nil)
    let version = try mine.accept(other { $0.versions = 1...9 }, expecting: nil, clockBound: nil, age: 0)
    #expect(version == 1)
  }

  @Test func `others are refused with what both sides said`() throws {
    let cluster = refusal(other { $0.cluster = "films" })
    #expect(cluster?.code == .wrongCluster)
    #expect(cluster?.message.contains("`test`") == true && cluster?.message.contains("`films`") == true)
    #expect(refusal(other { $0.versions = 2...3 })?.code == .wrongVersion)
    #expect(refusal(other { $0.database = DatabaseID(high: 9, low: 9) })?.code == .wrongDatabase)
    #expect(refusal(other { $0.node = TestNode.id(3) })?.code == .wrongNode)
    #expect(refusal(other { $0.node = TestNode.id(1) }, expecting: nil)?.code == .wrongNode)
  }

  @Test(arguments: [
    (Int64(100), UInt64(0), false), (101, 0, true), (-100, 0, false), (-101, 0, true),
    // The other's reading is old: it may lag by as much more, and not lead.
    (-150, 50, false), (-151, 50, true), (101, 50, true),
  ])
  func `clocks further apart than the bound are refused`(lead: Int64, age: UInt64, isRefused: Bool) throws {
    let hello = other { $0.physicalMilliseconds = UInt64(Int64($0.physicalMilliseconds) + lead) }
    #expect(refusal(hello, bound: 100, age: age)?.code == (isRefused ? .clockOutOfBound : nil))
    #expect(refusal(hello) == nil)
  }

  @Test func `addresses are read as they are written`() throws {
    for text in ["10.0.0.1:7420", "[::1]:7420", "node-1.example:1", "localhost:0"] {
      #expect(try NodeAddress(text).description == text)
    }
    #expect(try NodeAddress("[::1]:7420").host == "::1")
    for text in ["", ":1", "a", "a:", "a:65536", "a:-1", "::1:7420", "[]:1", "[::1]", "a:b:1", "a:+1x"] {
      #expect(throws: TransportError.self, "\(text)") { try NodeAddress(text) }
    }
  }
}
