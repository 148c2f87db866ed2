import RoostCausality
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// Changes of typed states, asked of any node.
// Budget: 5 s
@Suite struct StateChangeTests {
  private static let name = Array("f".utf8)

  static let changes: [StateChange] = [
    StateChange(.increment(.min)), StateChange(.increment(3), field: [0]), StateChange(.countUp(.max)),
    StateChange(.assign([])), StateChange(.assign([1, 2]), field: []), StateChange(.clear),
    StateChange(.enable, field: name), StateChange(.disable), StateChange(.insert([])),
    StateChange(.insert([[1], []]), field: name), StateChange(.remove([[2]])), StateChange(.removeAll),
    StateChange(.removeField(nil), field: name), StateChange(.removeField(.set), field: name),
  ]

  @Test func `changes come back as they went, and damage is refused or is another one`() throws {
    for change in Self.changes {
      let request = KeyRequest(.change(change), [1], in: "k")
      let bytes = request.encoded()
      #expect(try KeyRequest(decoding: bytes) == request)
      for count in 0..<bytes.count {
        #expect(code { _ = try KeyRequest(decoding: Array(bytes.prefix(count))) } == .invalidArgument)
      }
      for index in bytes.indices {
        for bit in 0..<8 {
          var damaged = bytes
          damaged[index] ^= 1 << bit
          _ = try? KeyRequest(decoding: damaged)
        }
      }
    }
    let answer = KeyAnswer(context: CausalContext(binding: 1, vector: VersionVector()), changed: 7)
    #expect(try KeyAnswer(decoding: answer.encoded()) == answer)
  }

  private struct World {
    let world: NodeWorld

    init() throws {
      // Two replicas of five nodes: most that are asked are none.
      world = try NodeWorld(5, replicas: 2)
      try world.make()
    }

    @discardableResult
    func change(_ key: String, _ kind: StateChange.Kind, field: String? = nil, at index: Int) throws -> Int {
      let change = StateChange(kind, field: field.map { Array($0.utf8) })
      return try world.perform(KeyRequest(.change(change), Array(key.utf8), in: "k"), at: index).changed
    }

    func state<State: MergeableState>(_ key: String, _ type: State.Type, at index: Int) throws -> State {
      try world.get(key, at: index).record?.state(as: type) ?? State()
    }
  }

  @Test func `each kind works at each node`() throws {
    let world = try World()
    for index in 0..<5 {
      let other = (index + 2) % 5
      // Of two assignments the later by the clock counts.
      world.world.time.advance(byNanoseconds: 2_000_000)
      try world.change("n", .increment(-2), at: index)
      #expect(try world.state("n", PNCounter.self, at: other).value() == -2 * Int64(index + 1))
      try world.change("g", .countUp(3), at: index)
      #expect(try world.state("g", GCounter.self, at: other).value() == 3 * UInt64(index + 1))
      try world.change("r", .assign([UInt8(index)]), at: index)
      #expect(try world.state("r", LWWRegister.self, at: other).value == [UInt8(index)])
      #expect(try world.change("r\(index)", .clear, at: index) == 0)
      try world.change("r\(index)", .assign([1]), at: other)
      #expect(try world.change("r\(index)", .clear, at: index) == 1)
      #expect(try world.state("r\(index)", LWWRegister.self, at: other).value == nil)
      try world.change("flag", .enable, at: index)
      #expect(try world.state("flag", EnableWinsFlag.self, at: other).isEnabled)
      #expect(try world.change("flag", .disable, at: other) == 1)
      #expect(try world.change("flag", .disable, at: index) == 0)
      #expect(try !world.state("flag", EnableWinsFlag.self, at: index).isEnabled)
      #expect(try world.change("s", .insert([[1], [2], [UInt8(10 + index)]]), at: index) == 3)
      #expect(try world.change("s", .remove([[1], [99]]), at: other) == 1)
      #expect(try world.state("s", ORSet.self, at: index).values.first == [2])
      try world.change("m", .increment(1), field: "n", at: index)
      try world.change("m", .insert([[UInt8(index)]]), field: "s", at: other)
    }
    let map = try world.state("m", ORMap.self, at: 3)
    #expect(try map.field(Array("n".utf8), as: PNCounter.self).value() == 5)
    #expect(map.field(Array("s".utf8), as: ORSet.self).count == 5)
    #expect(try world.change("m", .removeField(.counter), field: "s", at: 4) == 0)
    #expect(try world.change("m", .removeField(nil), field: "s", at: 4) == 1)
    #expect(try world.state("m", ORMap.self, at: 0).fields.map(\.name) == [Array("n".utf8)])
    #expect(try world.change("s", .removeAll, at: 1) == 6)
    #expect(try world.state("s", ORSet.self, at: 2).isEmpty)
    #expect(code { try world.change("n", .enable, at: 2) } == .wrongKind)
  }

  @Test func `what a replica missed is switched off all the same`() throws {
    let world = try NodeWorld(3)
    try world.make()
    func change(_ kind: StateChange.Kind, at index: Int) throws -> Int {
      try world.perform(KeyRequest(.change(StateChange(kind)), Array("k".utf8), in: "k"), at: index).changed
    }
    world.cut(0, 2)
    _ = try change(.enable, at: 0)
    world.heal()
    #expect(try world.held("k", at: 2) == nil)
    #expect(try change(.disable, at: 2) == 1)
    for index in 0..<3 {
      #expect(try world.get("k", at: index).record?.state(as: EnableWinsFlag.self).isEnabled != true)
    }
  }
}
