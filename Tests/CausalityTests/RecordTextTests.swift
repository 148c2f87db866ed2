import RoostCausality
import Testing

/// How records are shown to people.
// Budget: 1 s
@Suite struct RecordTextTests {
  private let named = CausalFormat { $0 == replica("a") ? "n1" : "n2" }

  private func text(_ record: Record) -> String { named.parts(record).joined(separator: "  ") }

  @Test func `a counter`() throws {
    var record = Record()
    try record.update(PNCounter.self, dot: dot("a", 17)) { try $0.increment(by: 1, dot: $1) }
    try record.update(PNCounter.self, dot: dot("b", 4)) { try $0.increment(by: 1, dot: $1) }
    #expect(text(record) == "counter 2  dots n1#17:1 n2#4:1  context {n1:17, n2:4}")
    #expect("\(record)" == "counter 2  dots 6123#17:1 6223#4:1  context {6123:17, 6223:4}")
    #expect(CausalFormat.long.text(record.context) == "{6123456789abcdef:17, 6223456789abcdef:4}")
    var other = Record()
    try record.update(PNCounter.self, dot: dot("b", 5)) { try $0.increment(by: -.max, dot: $1) }
    try other.update(PNCounter.self, dot: dot("c", 5)) { try $0.increment(by: -4, dot: $1) }
    record.join(other)
    #expect(text(record).hasPrefix("counter overflow  dots n1#17:1 n2#5:1-9223372036854775807 n2#5:0-4"))
  }

  @Test func `values and tombstones`() throws {
    var record = try Record().putting("a \"b\"", VersionVector(), dot("a", 1))
    #expect(text(record) == #""a \"b\"" n1#1 at 0.1  context {n1:1}"#)
    try record.put(
      [0xFF, 0], expiry: 9, replacing: VersionVector(), dot: dot("b", 2),
      timestamp: Timestamp(milliseconds: 3))
    #expect(named.parts(record) == [
      "2 siblings", #""a \"b\"" n1#1 at 0.1"#, "0xff00 n2#2 at 3.0 expires 9", "context {n1:1, n2:2}",
    ])
    try record.delete(replacing: record.context, dot: dot("b", 3))
    #expect(text(record) == "tombstone  context {n1:1, n2:3}")
    #expect(CausalFormat.quoted([]) == "\"\"")
  }

  @Test func `the other states`() throws {
    var record = Record()
    try record.update(GCounter.self, dot: dot("a", 1)) { try $0.increment(by: 7, dot: $1) }
    try record.update(LWWRegister.self, dot: dot("a", 2)) {
      $0.assign([65], timestamp: Timestamp(milliseconds: 4), dot: $1)
    }
    try record.update(EnableWinsFlag.self, dot: dot("a", 3)) { $0.enable(dot: $1) }
    try record.update(ORSet.self, dot: dot("a", 4)) { $0.insert([66], dot: $1) }
    try record.update(ORMap.self, dot: dot("a", 5)) { map, dot in
      map.update([67], as: ORSet.self) { $0.insert([68], dot: dot) }
    }
    #expect(named.parts(record) == [
      "grow-only counter 7  dots n1#1:7", #"register "A"  writes "A" n1#2 at 4.0"#, "flag on  dots n1#3",
      #"set of 1  {"B" n1#4}"#, #"map of 1  {"C": set of 1  {"D" n1#5}}"#, "context {n1:5}",
    ])
    let context = CausalContext(binding: 0, vector: record.context)
    #expect("\(context)" == "context {6123:5}" && "\(record.context)" == "{6123:5}")
  }
}
