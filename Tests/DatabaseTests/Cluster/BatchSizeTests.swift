import Roost
import TestSupport
import Testing

/// How many keys of many a transaction writes. The clock and the node are played by the test.
// Budget: 1 s
@Suite struct BatchSizeTests {
  private struct TooMuch: Error {}

  private func entries(_ count: Int) -> [(key: [UInt8], value: [UInt8])] {
    (0..<count).map { (key: [UInt8($0 >> 8), UInt8($0 & 0xFF)], value: [1, 2]) }
  }

  /// Writes at a node to which a key takes so long, and which ends a transaction that takes longer than it
  /// allows.
  ///
  /// - Returns: how many keys each transaction had.
  private func sizes(
    of count: Int, keyMilliseconds: UInt64, allowed: UInt64, mostBytes: Int = 4 << 20
  ) async throws -> [Int] {
    let now = Guarded<UInt64>(0)
    let written = Guarded<[[UInt8]]>([])
    let sizes = Guarded<[Int]>([])
    try await BatchSize().forEachPart(
      of: entries(count), mostBytes: mostBytes, now: { now.withLock { $0 } }
    ) { part in
      let time = UInt64(part.count) * keyMilliseconds
      now.withLock { $0 += min(time, allowed) }
      sizes.withLock { $0.append(part.count) }
      if time > allowed { return TooMuch() }
      written.withLock { $0 += part.map(\.key) }
      return nil
    }
    #expect(written.withLock { $0 } == entries(count).map(\.key), "each once, in order")
    return sizes.withLock { $0 }
  }

  @Test func `a node nearby is sent more and more`() async throws {
    let sizes = try await self.sizes(of: 3_000, keyMilliseconds: 0, allowed: 10_000)
    #expect(sizes == [50, 100, 200, 400, 800, 1_000, 450])
  }

  /// A thousand of them would take ten seconds, which is as long as nodes allow.
  @Test func `a node far away is sent no more than takes a second`() async throws {
    let sizes = try await self.sizes(of: 350, keyMilliseconds: 10, allowed: 10_000)
    #expect(sizes == [50, 100, 100, 100])
  }

  @Test func `what was too much is tried with fewer keys, and with more again much later`() async throws {
    let short = try await sizes(of: 100, keyMilliseconds: 10, allowed: 300)
    #expect(short == [50, 25, 25, 25, 25])
    let long = try await sizes(of: 875, keyMilliseconds: 10, allowed: 300)
    #expect(long == [50] + Array(repeating: 25, count: 33) + [50, 25, 25])
  }

  @Test func `a single key that is too much is an error`() async throws {
    await #expect(throws: TooMuch.self) {
      _ = try await sizes(of: 100, keyMilliseconds: 400, allowed: 300)
    }
    #expect(try await sizes(of: 3, keyMilliseconds: 400, allowed: 400) == [3, 1, 1, 1])
  }

  @Test func `bytes bound it too`() async throws {
    #expect(try await sizes(of: 5, keyMilliseconds: 0, allowed: 1, mostBytes: 8) == [2, 2, 1])
    #expect(try await sizes(of: 2, keyMilliseconds: 0, allowed: 1, mostBytes: 3) == [1, 1])
    #expect(try await sizes(of: 0, keyMilliseconds: 0, allowed: 1).isEmpty)
  }
}
