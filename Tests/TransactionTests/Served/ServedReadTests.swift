import RoostCausality
import RoostCluster
import RoostSimulation
import TestSupport
import Testing

@testable import RoostTransactions

/// What is read for a client, and what is not.
// Budget: 2 s
@Suite struct ServedReadTests {
  @Test func `a partition is read up to where those before it end the page`() throws {
    let ranges = (0..<3).map { RangeReference(keyspace: 1, partition: $0, lower: [10], upper: nil) }
    let limits = ClientReadLimits(pageBytes: 1_000, valueBytes: 1_000)
    for (limit, pageSize) in [(5, 5), (5, 2), (90, 4), (90, 90)] {
      let reader = CountedReader(pageSize: pageSize)
      let answer = Guarded<ClientAnswer?>(nil)
      let read = RangeRead(ranges, limit: limit, reader, limits, on: ManualWorkers()) { result in
        answer.withLock { $0 = try? result.get() }
      }
      read.begin()
      guard case .entries(let page)? = answer.withLock({ $0 }) else {
        Issue.record("it did not end at once")
        continue
      }
      #expect(page.entries.map(\.key) == (0..<UInt8(limit)).map { [10 + $0] })
      let asked = reader.ranges.withLock { $0 }
      guard limit == 5 else {
        #expect(asked.allSatisfy { $0.upper == nil })
        continue
      }
      // The first has 10, 13, 16, 19 and 22 of it; with the second's 11 and 14 it ends at 16 already.
      #expect(asked.filter { $0.partition == 1 }.allSatisfy { $0.upper == [25] })
      #expect(asked.filter { $0.partition == 2 }.allSatisfy { $0.upper == [17] })
    }
  }

  @Test func `nothing is read as of a time for a client that waits no more`() throws {
    let world = try RemoteWorld()
    let manager = try world.manager(0)
    let isCancelled = Guarded(false)
    let reader = TimeReader(
      manager: manager, time: try manager.now(), deadline: .max,
      isCancelled: { isCancelled.withLock { $0 } })
    let target = try manager.reference(Array(world.names(at: 0)[0].utf8), in: "accounts")
    let range = try manager.ranges(from: [], to: nil, in: "accounts")[0]
    func codes() throws -> [DatabaseError.Code?] {
      let found = Guarded<[DatabaseError.Code?]>([])
      @Sendable func note<T>(_ result: Result<T, StatementFailure>) {
        guard case .failure(.failed(let error)) = result else { return found.withLock { $0.append(nil) } }
        found.withLock { $0.append(error.code) }
      }
      reader.read(target) { note($0) }
      reader.read(range, limit: 10) { note($0) }
      try world.settle { found.withLock { $0.count == 2 } }
      return found.withLock { $0 }
    }
    #expect(try codes() == [nil, nil])
    isCancelled.withLock { $0 = true }
    #expect(try codes() == [.deadlineExceeded, .deadlineExceeded])
  }

  @Test func `a keyspace that there is not is asked for once a second`() {
    let names = MissedNames()
    let error = DatabaseError(.unknownKeyspace, "none")
    names.note(error, of: "a", at: 5)
    #expect(names.miss(of: "a", at: 5 + MissedNames.milliseconds - 1)?.code == .unknownKeyspace)
    #expect(names.miss(of: "b", at: 5) == nil)
    #expect(names.miss(of: "a", at: 5 + MissedNames.milliseconds) == nil)
    for number in 0..<5_000 { names.note(error, of: "\(number)", at: 10) }
    #expect((0..<5_000).count { names.miss(of: "\($0)", at: 10) != nil } <= MissedNames.mostNames)
  }
}

/// Partition `p` of three has the keys 10 + p, 13 + p, … below 100. Notes what is read.
private struct CountedReader: PartitionReader {
  /// Entries of an answer at most.
  let pageSize: Int
  let ranges = Guarded<[RangeReference]>([])

  func read(
    _ target: KeyReference, _ reply: @escaping @Sendable (Result<[UInt8]?, StatementFailure>) -> Void
  ) { reply(.success(nil)) }

  func read(
    _ range: RangeReference, limit: Int,
    _ reply: @escaping @Sendable (Result<ReadAnswer, StatementFailure>) -> Void
  ) {
    ranges.withLock { $0.append(range) }
    let all = stride(from: UInt8(10 + range.partition), to: 100, by: 3).map { key in
      KeyReference(keyspace: range.keyspace, partition: range.partition, key: [key])
    }
    let found = all.filter { range.contains($0) }
    let count = min(found.count, limit, pageSize)
    var answer = ReadAnswer()
    answer.entries = found.prefix(count).map { ReadEntry($0, [1], at: Timestamp(rawValue: 1)) }
    answer.isComplete = count == found.count
    answer.next = answer.isComplete ? nil : found[count].key
    reply(.success(answer))
  }

  func shown(_ entries: [ReadEntry], of range: RangeReference) -> [(key: [UInt8], value: [UInt8])] {
    entries.map { ($0.target.key, $0.value) }
  }
}
