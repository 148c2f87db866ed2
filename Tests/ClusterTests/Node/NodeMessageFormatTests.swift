import RoostCausality
import RoostCluster
import TestSupport
import Testing

/// FORMAT.md's examples of messages about keys.
// Budget: 1 s
@Suite struct NodeMessageFormatTests {
  @Test func `the document's request is the one that is sent`() throws {
    var request = KeyRequest(.increment(-2), Array("likes".utf8), in: "default")
    request.quorum = 2
    let shown = try FormatDocument.example("key-request")
    #expect(request.encoded() == shown)
    #expect(try KeyRequest(decoding: shown) == request)
  }

  @Test func `the document's increment that counts once is the one that is sent`() throws {
    let operation = OperationID(high: 0x018B_CFE5_6800_0102, low: 0x0304_0506_0708_090A)
    let request = KeyRequest(.countOnce(1, operation, field: nil), Array("likes".utf8), in: "default")
    let shown = try FormatDocument.example("key-request-once")
    #expect(request.encoded() == shown)
    #expect(try KeyRequest(decoding: shown) == request)
  }

  @Test func `a session's request and its answer are the document's`() throws {
    let database = DatabaseID(high: 0x0809_0A0B_0C0D_0E0F, low: 0x1011_1213_1415_1617)
    let dot = Dot(replica: ReplicaID(rawValue: 0x00A1_0000_0000_0001), counter: 300)
    let seen = CausalContext(binding: 0x1122_3344_5566_7788, vector: VersionVector([dot]))
    var request = KeyRequest(.get, Array("likes".utf8), in: "default")
    request.session = SessionDemand(database: database, seen: seen)
    let shown = try FormatDocument.example("key-request-session")
    #expect(request.encoded() == shown)
    #expect(try KeyRequest(decoding: shown) == request)
    for count in shown.indices {
      #expect(throws: DatabaseError.self) { try KeyRequest(decoding: Array(shown[..<count])) }
    }
    for demand in [SessionDemand(), SessionDemand(database: database, asksAll: true)] {
      request.session = demand
      #expect(try KeyRequest(decoding: request.encoded()) == request)
    }
    // Nobody else's has the newer version: nodes that do not know it are asked as before.
    request.session = nil
    #expect(request.encoded()[0] == 1 && KeyAnswer(context: seen).encoded()[0] == 1)
    let answer = KeyAnswer(context: seen, session: SessionMark(database: database, seen: seen))
    #expect(answer.encoded()[0] == 2)
    #expect(try KeyAnswer(decoding: answer.encoded()) == answer)
    for count in answer.encoded().indices {
      #expect(throws: DatabaseError.self) { try KeyAnswer(decoding: Array(answer.encoded()[..<count])) }
    }
  }

  @Test func `the document's failure is the one that is sent`() throws {
    let shown = try FormatDocument.example("node-failure")
    #expect(NodeAnswer.encode(.failure(DatabaseError(.unknownKeyspace, "gone"))) == shown)
    #expect {
      try NodeAnswer.decode(shown)
    } throws: { error in
      guard let error = error as? DatabaseError else { return false }
      return error.code == .unknownKeyspace && error.message == "gone"
    }
  }
}
