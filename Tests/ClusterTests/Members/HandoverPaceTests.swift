import Testing

@testable import RoostCluster

/// For how long who gives transactional keys away waits for the receiver.
// Budget: 1 s
@Suite struct HandoverPaceTests {
  @Test func `a receiver may be silent as long as it waits to be allowed more`() {
    let second: UInt64 = 1_000_000_000
    func longest(_ body: Int, _ rate: Int) -> UInt64 {
      NodeHandovers.longestSilence(largestBody: body, bytesPerSecond: rate)
    }
    #expect(longest(16 << 20, 16 << 20) == 60 * second)
    // A page of the longest takes 16,384 s, and what was compared before as long.
    #expect(longest(16 << 20, 1 << 10) == 32_768 * second)
    // The bounds of both options.
    #expect(longest(1 << 30, 1 << 10) == 2_097_152 * second)
    #expect(longest(1 << 10, 1 << 40) == 60 * second)
  }
}
