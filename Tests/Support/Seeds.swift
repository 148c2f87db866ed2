import Foundation
public import RoostEnvironment

/// The seeds of randomised tests.
///
/// The same ones each run (and where a suite asks for them some new ones in a full run), unless the
/// environment says `ROOST_SEED=<number>` (only that one) or
/// `ROOST_SEED=random` (new ones).
public enum Seeds {
  /// - Parameter name: makes the seeds of different tests differ.
  public static func of(_ name: String, count: Int) -> [UInt64] {
    let wish = ProcessInfo.processInfo.environment["ROOST_SEED"]
    if let wish, let seed = UInt64(wish) { return [seed] }
    var base: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in name.utf8 { base = (base ^ UInt64(byte)) &* 0x100_0000_01B3 }
    if wish == "random" { base = UInt64.random(in: 0 ... .max) }
    var generator = SplitMix64(seed: base)
    // Short enough to type.
    return (0..<count).map { _ in generator.next() >> 32 }
  }

  /// Seeds that no run has had: in a full run only, beside the same ones. None where the environment says
  /// which.
  ///
  /// They are told on standard error before they are used, which is not buffered: a process that crashes or
  /// hangs has said by then what to replay.
  ///
  /// - Parameters:
  ///   - name: of what they are for.
  ///   - count: how many: what one takes, times this, is all that a run takes longer.
  public static func new(_ name: String, count: Int) -> [UInt64] {
    let wish = ProcessInfo.processInfo.environment["ROOST_SEED"]
    guard count > 0, TestSize.isFull, wish == nil else { return [] }
    let seeds = (0..<count).map { _ in UInt64.random(in: 0 ... .max) >> 32 }
    let list = seeds.map { "\($0)" }.joined(separator: ", ")
    FileHandle.standardError.write(Data("\(name): new seeds \(list)\n".utf8))
    return seeds
  }
}

/// Runs a randomised test once a seed. Where it throws (as `try #require` does), prints the seed
/// and the command that replays it.
///
/// - Parameters:
///   - name: the test's name, as `swift test --filter` finds it.
///   - count: how many seeds to run it with.
public func withSeeds(
  _ name: String, count: Int, _ body: (_ seed: UInt64, inout SplitMix64) throws -> Void
) throws {
  for seed in Seeds.of(name, count: count) {
    var random = SplitMix64(seed: seed)
    do {
      try body(seed, &random)
    } catch {
      print(
        "\(name) failed with seed \(seed). Replay: ROOST_SEED=\(seed) swift test --filter \(name)")
      throw error
    }
  }
}

extension SplitMix64 {
  /// A number from 0 up to `bound`, which is left out.
  public mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }

  public mutating func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
  }
}
