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
