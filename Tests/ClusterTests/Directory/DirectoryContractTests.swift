import RoostSimulation
import TestSupport
import Testing

@testable import RoostCluster

/// What every directory of a cluster promises.
// Budget: 1 s
@Suite struct DirectoryContractTests {
  enum Kind: CaseIterable { case memory, file }

  private struct World {
    let time = SimulatedTime()
    let directory: any ClusterDirectory

    init(_ kind: Kind) throws {
      let simulated = SimulatedEnvironment(time: time)
      directory =
        switch kind {
        case .memory: MemoryDirectory(time)
        case .file: try FileDirectory(at: "/srv/cluster", environment: simulated.environment)
        }
    }

    func pass(_ milliseconds: UInt64) { time.advance(byNanoseconds: milliseconds * 1_000_000) }
  }

  @Test(arguments: Kind.allCases)
  func `a change is made from the version it names, and from no other`(_ kind: Kind) throws {
    let directory = try World(kind).directory
    #expect(try directory.record("ring") == nil)
    #expect(try directory.compareAndSet("ring", version: 1, [1], lease: nil) == nil)
    let first = try #require(try directory.compareAndSet("ring", version: 0, [1], lease: nil))
    #expect(try directory.compareAndSet("ring", version: 0, [2], lease: nil) == nil)
    let second = try #require(try directory.compareAndSet("ring", version: first, [2], lease: nil))
    #expect(second > first)
    #expect(try directory.compareAndSet("ring", version: first, [3], lease: nil) == nil)
    #expect(
      try directory.record("ring") == DirectoryRecord(name: "ring", version: second, value: [2]))
    #expect(try directory.compareAndSet("ring", version: first, nil, lease: nil) == nil)
    let removed = try #require(try directory.compareAndSet("ring", version: second, nil, lease: nil))
    #expect(removed > second)
    #expect(try directory.record("ring") == nil)
    // One that is made anew is another: a version never comes twice.
    let again = try #require(try directory.compareAndSet("ring", version: 0, [2], lease: nil))
    #expect(again > removed)
  }

  @Test(arguments: Kind.allCases)
  func `records under a prefix come in order`(_ kind: Kind) throws {
    let directory = try World(kind).directory
    for name in ["node/b", "node/a", "nod", "node/ä", "ring"] {
      _ = try #require(try directory.compareAndSet(name, version: 0, Array(name.utf8), lease: nil))
    }
    #expect(try directory.records(prefix: "node/").map(\.name) == ["node/a", "node/b", "node/ä"])
    #expect(try directory.records(prefix: "").map(\.name) == ["nod", "node/a", "node/b", "node/ä", "ring"])
    #expect(try directory.records(prefix: "x").isEmpty)
  }

  @Test(arguments: Kind.allCases)
  func `what hangs on a lease goes with it, and stays while it is renewed`(_ kind: Kind) throws {
    let world = try World(kind)
    let directory = world.directory
    let lease = try directory.grantLease(.seconds(1))
    _ = try #require(try directory.compareAndSet("node/1", version: 0, [1], lease: lease))
    let stays = try #require(try directory.compareAndSet("ring", version: 0, [9], lease: lease))
    _ = try #require(try directory.compareAndSet("ring", version: stays, [9], lease: nil))
    for _ in 0..<5 {
      world.pass(900)
      #expect(try directory.renew(lease))
    }
    #expect(try directory.record("node/1")?.value == [1])
    world.pass(999)
    #expect(try directory.record("node/1")?.lease == lease)
    world.pass(1)
    #expect(try directory.record("node/1") == nil && directory.records(prefix: "").map(\.name) == ["ring"])
    // Over is over, also for whoever comes late.
    #expect(try !directory.renew(lease))
    #expect(throws: DatabaseError.self) {
      _ = try directory.compareAndSet("node/1", version: 0, [1], lease: lease)
    }
    #expect(try directory.compareAndSet("node/1", version: 0, [2], lease: nil) != nil)
    let second = try directory.grantLease(.seconds(1))
    #expect(second > lease)
    _ = try #require(try directory.compareAndSet("node/2", version: 0, [2], lease: second))
    try directory.revoke(second)
    try directory.revoke(second)
    #expect(try directory.record("node/2") == nil)
    #expect(try !directory.renew(second))
  }

  @Test(arguments: Kind.allCases)
  func `who watches is told of what changed, and of nothing else`(_ kind: Kind) throws {
    let world = try World(kind)
    let directory = world.directory
    let told = Guarded<[[String]]>([])
    var watch: DirectoryWatch? = directory.watch(prefix: "node/") { records in
      told.withLock { $0.append(records.map { "\($0.name)=\($0.value)" }) }
    }
    #expect(told.withLock { $0 } == [[]])
    let version = try #require(try directory.compareAndSet("node/1", version: 0, [1], lease: nil))
    _ = try directory.compareAndSet("ring", version: 0, [1], lease: nil)
    _ = try directory.compareAndSet("node/1", version: version, [2], lease: nil)
    #expect(told.withLock { $0 } == [[], ["node/1=[1]"], ["node/1=[2]"]])
    let lease = try directory.grantLease(.seconds(1))
    _ = try directory.compareAndSet("node/2", version: 0, [2], lease: lease)
    world.pass(1_000)
    // Whatever makes a directory look: here a change of something else.
    _ = try directory.compareAndSet("other", version: 0, [], lease: nil)
    #expect(told.withLock { $0.suffix(2) } == [["node/1=[2]", "node/2=[2]"], ["node/1=[2]"]])
    _ = watch
    watch = nil
    _ = try directory.compareAndSet("node/3", version: 0, [3], lease: nil)
    #expect(told.withLock { $0.count } == 5)
  }

  @Test(arguments: Kind.allCases)
  func `an observer may change the directory`(_ kind: Kind) throws {
    let directory = try World(kind).directory
    let seen = Guarded<[Int]>([])
    let watch = directory.watch(prefix: "n") { records in
      let count = records.first.map { Int($0.value[0]) } ?? 0
      seen.withLock { $0.append(count) }
      guard count < 5 else { return }
      _ = try? directory.compareAndSet(
        "n", version: records.first?.version ?? 0, [UInt8(count + 1)], lease: nil)
    }
    #expect(seen.withLock { $0 } == [0, 1, 2, 3, 4, 5])
    watch.cancel()
  }

  @Test(arguments: Kind.allCases)
  func `what is beyond a limit is refused, and nothing is changed`(_ kind: Kind) throws {
    let directory = try World(kind).directory
    func code(_ body: () throws -> Void) -> DatabaseError.Code? {
      do { try body() } catch { return (error as? DatabaseError)?.code }
      return nil
    }
    for name in ["", String(repeating: "n", count: 256)] {
      #expect(code { _ = try directory.record(name) } == .invalidArgument)
      #expect(code { _ = try directory.compareAndSet(name, version: 0, [], lease: nil) } == .invalidArgument)
    }
    let large = [UInt8](repeating: 1, count: DirectoryLimits.valueBytes)
    let tooLarge = code { _ = try directory.compareAndSet("n", version: 0, large + [1], lease: nil) }
    #expect(tooLarge == .invalidArgument)
    #expect(code { _ = try directory.grantLease(.milliseconds(99)) } == .invalidArgument)
    #expect(code { _ = try directory.grantLease(.seconds(86_401)) } == .invalidArgument)
    #expect(
      code {
        _ = try directory.compareAndSet("n", version: 0, [], lease: DirectoryLease(rawValue: 7))
      } == .invalidArgument)
    var number = 0
    while code({ _ = try directory.compareAndSet("large\(number)", version: 0, large, lease: nil) }) == nil {
      number += 1
    }
    #expect(number == 15)
    #expect(code { _ = try directory.compareAndSet("large15", version: 0, large, lease: nil) } == .busy)
    #expect(try directory.records(prefix: "").count == 15)
    let first = try #require(try directory.record("large0"))
    #expect(try directory.compareAndSet("large0", version: first.version, large, lease: nil) != nil)
    #expect(try directory.compareAndSet("small", version: 0, [1], lease: nil) != nil)
  }
}
