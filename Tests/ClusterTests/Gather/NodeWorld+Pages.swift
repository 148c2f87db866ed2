import RoostCausality
import RoostEnvironment
import TestSupport
import Testing

@testable import RoostCluster

/// A key of the model and what it holds: its values in order, or a count.
struct ShownKey: Equatable, CustomStringConvertible {
  var key: String
  var values: [String]

  init(_ key: String, _ values: [String]) {
    self.key = key
    self.values = values
  }

  init(_ key: [UInt8], _ record: Record) {
    self.key = String(decoding: key, as: UTF8.self)
    values = record.siblings.elements.map { String(decoding: $0.value, as: UTF8.self) }.sorted()
    let count = (try? record.state(as: PNCounter.self).value()) ?? 0
    if !record.states.isEmpty { values.append("count \(count)") }
  }

  var description: String { "\(key): \(values)" }
}

extension NodeWorld {
  /// The answer of a call that a node is asked, once and by its deadline.
  func answer<Value: Sendable>(
    at index: Int, _ begin: (UInt64, @escaping ClusterNode.Answer<Value>) -> Void
  ) throws -> Value {
    let answer = Guarded<Result<Value, DatabaseError>?>(nil)
    begin(time.monotonicNanoseconds + 5_000_000_000) { result in
      answer.withLock {
        #expect($0 == nil, "answered twice")
        $0 = result
      }
    }
    if answer.withLock({ $0 == nil }) {
      time.advance(byNanoseconds: 6_000_000_000)
      messages.expire()
      self[index].tick()
    }
    return try #require(answer.withLock { $0 }, "never answered").get()
  }

  func page(_ request: ScanRequest, at index: Int) throws -> ScanAnswer {
    try answer(at: index) { deadline, reply in self[index].scan(request, deadline: deadline, reply) }
  }

  /// All of a range, page by page, each asked of one of `nodes` in turn; tokens go through their bytes.
  func scan(
    _ range: ScanRange = .all, _ order: ScanOrder = .ascending, limit: Int = 7, quorum: Int? = nil,
    at nodes: [Int]
  ) throws -> [ShownKey] {
    var request = ScanRequest(range, order, in: "k", limit: limit)
    request.quorum = quorum
    var shown: [ShownKey] = []
    for turn in 0..<2_000 {
      let page = try page(request, at: nodes[turn % nodes.count])
      #expect(page.entries.count <= limit)
      shown += page.entries.map { ShownKey($0.key, $0.record) }
      guard let token = page.token else { return shown }
      request.token = try ScanToken(bytes: token.bytes)
      // As a node reads it.
      request = try ScanRequest(decoding: request.encoded())
    }
    Issue.record("a scan without an end")
    return shown
  }

  func changes(
    since token: ChangeToken?, limit: Int = 256, _ bounds: FeedBounds? = nil, at index: Int
  ) throws -> (page: ChangePage, bounds: FeedBounds?) {
    let keyspace = try self[index].keyspace("k")
    return try answer(at: index) { deadline, reply in
      self[index].changes(of: keyspace, since: token, limit: limit, bounds, deadline: deadline, reply)
    }
  }

  /// Replaces what a key holds by a value; where `value` is `nil`, deletes it.
  func replace(_ key: String, _ value: String?, at index: Int) throws {
    let context = try get(key, at: index).context
    guard value == nil else {
      try put(key, value!, at: index, context: context)
      return
    }
    var request = KeyRequest(.delete, Array(key.utf8), in: "k")
    request.context = context
    _ = try perform(request, at: index)
  }
}
