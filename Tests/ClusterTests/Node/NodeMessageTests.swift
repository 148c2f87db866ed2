import RoostCausality
import TestSupport
import Testing

@testable import RoostCluster

/// The bodies of nodes' messages: they come back as they went, and rubbish is refused.
// Budget: 5 s
@Suite struct NodeMessageTests {
  static var requests: [KeyRequest] {
    var conditional = KeyRequest(.delete, [0, 255], in: "x")
    conditional.isConditional = true
    conditional.quorum = 3
    conditional.isSynced = true
    conditional.context = CausalContext(binding: 7, vector: VersionVector())
    return [
      KeyRequest(.get, Array("key".utf8), in: "k"), conditional,
      KeyRequest(.put(Array("value".utf8), timeToLiveMilliseconds: 12), [1], in: "k"),
      KeyRequest(.put([], timeToLiveMilliseconds: nil), [1], in: "k"),
      KeyRequest(.increment(.min), [1], in: "k"), KeyRequest(.increment(.max), [1], in: "k"),
      KeyRequest(.increment(-1), [1], in: "k"), KeyRequest(.add([9]), [1], in: "k"),
      KeyRequest(.remove([]), [1], in: "k"),
      KeyRequest(.countOnce(-3, OperationID(high: .max, low: 1), field: nil), [1], in: "k"),
      KeyRequest(.countOnce(.min, OperationID(high: 0, low: .max), field: [7]), [1], in: "k"),
    ]
  }

  @Test func `requests come back as they went`() throws {
    for request in Self.requests { #expect(try KeyRequest(decoding: request.encoded()) == request) }
    let keyspace = KeyspaceRequest(name: "n", kind: .lastWriterWins)
    #expect(try KeyspaceRequest(decoding: keyspace.encoded()) == keyspace)
    #expect(keyspace.encoded()[0] == 1)
    let some = [KeyspaceQuorums(read: 1), KeyspaceQuorums(write: 16), KeyspaceQuorums(read: 2, write: 2)]
    for quorums in some {
      let asked = KeyspaceRequest(name: "n", kind: .keep, quorums: quorums)
      #expect(try KeyspaceRequest(decoding: asked.encoded()) == asked)
      #expect(code { _ = try KeyspaceRequest(decoding: Array(asked.encoded().dropLast())) } != nil)
      var fewer = asked
      fewer.replicas = 2
      #expect(try KeyspaceRequest(decoding: fewer.encoded()) == fewer)
      #expect(fewer.encoded()[0] == 3)
      #expect(code { _ = try KeyspaceRequest(decoding: Array(fewer.encoded().dropLast())) } != nil)
    }
  }

  @Test func `answers come back as they went`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try world.put("k", "v", at: 0)
    for key in ["k", "none"] {
      let answer = try world.get(key, at: 1)
      #expect(try KeyAnswer(decoding: answer.encoded()) == answer)
    }
    #expect(try NodeAnswer.decode(NodeAnswer.encode(.success([1, 2]))) == [1, 2])
    let failure = DatabaseError(.conditionFailed, "why")
    #expect(code { _ = try NodeAnswer.decode(NodeAnswer.encode(.failure(failure))) } == .conditionFailed)
  }

  /// Cut off anywhere, one bit changed anywhere, and random bytes: an error, or another message; no trap.
  @Test func `damage is refused or is another message`() throws {
    let world = try NodeWorld(3)
    try world.make()
    try world.put("k", "v", at: 0)
    var replica = ReplicaMessage(
      MessageHead(database: world[0].core.id, ring: RingPrint(revision: 1, print: 7), keyspace: 1),
      key: [1, 2])
    replica.record = try world.held("k", at: 0)
    let bodies =
      Self.requests.map { $0.encoded() } + [
        replica.encoded(), world[0].status.encoded(), try world.get("k", at: 0).encoded(),
        KeyspaceRequest(name: "n", kind: .keep).encoded(),
      ]
    func decodeAll(_ bytes: [UInt8]) {
      _ = try? KeyRequest(decoding: bytes)
      _ = try? KeyAnswer(decoding: bytes)
      _ = try? ReplicaMessage(decoding: bytes)
      _ = try? NodeStatus(decoding: bytes)
      _ = try? KeyspaceRequest(decoding: bytes)
      _ = try? NodeAnswer.decode(bytes)
      _ = try? DatabaseRecord(decoding: bytes)
      _ = try? FounderRecord(decoding: bytes)
      _ = try? NodeRecord(decoding: bytes)
    }
    for body in bodies {
      for count in body.indices {
        decodeAll(Array(body[..<count]))
        #expect(code { _ = try KeyRequest(decoding: Array(body[..<count])) } != nil)
      }
      for bit in 0..<(8 * body.count) {
        var changed = body
        changed[bit / 8] ^= 1 << UInt8(bit % 8)
        decodeAll(changed)
      }
    }
    try withSeeds("rubbish", count: 200) { _, random in
      let count = random.below(60)
      decodeAll(random.bytes(count))
    }
  }

  @Test func `rubbish is answered with an error, whatever its kind`() throws {
    let world = try NodeWorld(3)
    try world.make()
    let stranger = world.messages.transport(of: NodeID(rawValue: 1_000))
    let kinds: [UInt16] = [
      NodeMessageKind.apply, NodeMessageKind.fetch, NodeMessageKind.hint, NodeMessageKind.key,
      NodeMessageKind.makeKeyspace, NodeMessageKind.compare, NodeMessageKind.ring,
      NodeMessageKind.changeMembers,
    ]
    for kind in kinds {
      for body in [[], [0], [2], [1, 1, 1], Array(repeating: UInt8(255), count: 64)] as [[UInt8]] {
        let refused = Guarded(false)
        stranger.request(
          NodeMessage(kind: kind, body: body), of: NodeID(rawValue: 1),
          deadline: world.time.monotonicNanoseconds + 1_000_000_000
        ) { result in
          guard case .success(let bytes) = result else { return }
          refused.withLock { $0 = code { _ = try NodeAnswer.decode(bytes) } != nil }
        }
        #expect(refused.withLock { $0 }, "kind \(kind), \(body)")
      }
    }
    #expect(try world.values("none", at: 0) == [])
  }

  @Test func `a replica's message of another database or ring is refused`() throws {
    let (world, other) = (try NodeWorld(3), try NodeWorld(3, seed: 5))
    try world.make()
    try other.make()
    let record = Guarded<[DatabaseError.Code?]>([])
    let stranger = world.messages.transport(of: NodeID(rawValue: 1_000))
    let print = world[0].view.print(of: world[0].partition(of: [1]))
    let wrong = RingPrint(revision: print.revision, print: ~print.print)
    for (id, print) in [(other[0].core.id, print), (world[0].core.id, wrong)] {
      let message = ReplicaMessage(MessageHead(database: id, ring: print, keyspace: 1), key: [1])
      stranger.request(
        NodeMessage(kind: NodeMessageKind.fetch, body: message.encoded()), of: NodeID(rawValue: 1),
        deadline: world.time.monotonicNanoseconds + 1_000_000_000
      ) { result in
        guard case .success(let bytes) = result else { return }
        record.withLock { $0.append(code { _ = try NodeAnswer.decode(bytes) }) }
      }
    }
    #expect(record.withLock { $0 } == [.foreignStore, .staleRing])
  }
}
