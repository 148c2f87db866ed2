import RoostCluster
import Testing

@testable import RoostCommand

/// Rings as they are drawn.
// Budget: 1 s
@Suite struct RingPictureTests {
  private func member(_ id: UInt64, _ name: String, weight: Int = 1, zone: String = "") -> RingMember {
    RingMember(id: MemberID(rawValue: id), name: name, weight: weight, zone: zone)
  }

  private var members: [RingMember] { [member(1, "disk1"), member(2, "disk2"), member(3, "disk3")] }

  @Test func `a ring alone`() throws {
    let ring = try Ring(partitionCount: 16, replicas: 2, members: members, epoch: 7)
    let lines = RingPicture.lines(ring: ring, width: 72)
    #expect(
      lines == [
        "16 partitions, 2 replicas each, on 3 stores; epoch 7",
        "",
        "  A disk1    ×1  ███████████████████████████████████████      11  34.4 %",
        "  B disk2    ×1  ███████████████████████████████████████      11  34.4 %",
        "  C disk3    ×1  ███████████████████████████████████          10  31.3 %",
        "",
        "fullest for its weight: disk1, 1.031 times the mean",
        "",
        "who coordinates which partition:",
        "     0  BBACCCBABCAABCBA",
      ])
  }

  @Test func `what a change would move`() throws {
    let ring = try Ring(partitionCount: 16, replicas: 1, members: members)
    let changed = [
      member(1, "disk1", weight: 2), member(3, "disk3", zone: "b"), member(4, "disk4"),
    ]
    let lines = RingPicture.lines(ring: ring, plan: try ring.plan(to: changed), width: 72)
    #expect(
      lines == [
        "16 partitions, 1 replica each, on 3 stores; epoch 1",
        "",
        "no zone named",
        "  A disk1    ×2  ████████████████████████████▓▓▓▓▓▓▓▓▓   37.5 % → 50.0 %",
        "  B disk2    ×1  ░░░░░░░░░░░░░░░░░░░░░░░                 31.3 % →  0.0 %",
        "  C disk4    ×1  ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓                      0.0 % → 25.0 %",
        "zone b",
        "  D disk3    ×1  ███████████████████░░░░                 31.3 % → 25.0 %",
        "",
        "█ stays   ▓ comes   ░ goes",
        "",
        "fullest for its weight afterwards: disk1, 1.000 times the mean",
        "",
        "would move 6 of 16 replicas (37.5 %), one of a partition at a time",
        "  disk1: weight 1 → 2, takes 2",
        "  disk2: leaves, gives 5",
        "  disk4: joins, takes 4",
        "  disk3: zone none → b, gives 1",
        "",
        "who takes a replica of which partition (· nobody, * several):",
        "     0  ·C·A··C·A···C·C·",
      ])
  }

  @Test func `nothing to change`() throws {
    let ring = try Ring(partitionCount: 16, replicas: 1, members: members)
    let lines = RingPicture.lines(ring: ring, plan: try ring.plan(to: members))
    #expect(lines.contains("nothing would change"))
    #expect(!lines.contains { $0.hasPrefix("who") })
  }

  @Test func `a change under way`() throws {
    let ring = try Ring(partitionCount: 16, replicas: 1, members: members)
    let lines = RingPicture.lines(ring: try ring.plan(to: Array(members.prefix(2))).start)
    #expect(lines[1].hasPrefix("a change is under way"))
    #expect(lines.contains("    is leaving"))
  }

  @Test func `names of any kind, and many`() throws {
    let odd = [
      member(1, String(repeating: "long", count: 20), zone: "\u{1B}[31m"), member(2, "tab\there"),
      member(3, ""),
    ]
    let ring = try Ring(partitionCount: 8, replicas: 1, members: odd)
    for width in [0, 72, 80, 200] {
      let lines = RingPicture.lines(ring: ring, width: width)
      #expect(lines.allSatisfy { $0.count <= max(72, width) }, "\(lines)")
      #expect(!lines.contains { $0.unicodeScalars.contains { $0.value < 0x20 } })
    }
    let many = (1...100).map { member($0, "m\($0)", zone: "z\($0 % 4)") }
    let large = try Ring(partitionCount: 5000, replicas: 3, members: many)
    let lines = RingPicture.lines(ring: large)
    #expect(lines[0] == "5,000 partitions, 3 replicas each, on 100 stores in 4 zones; epoch 1")
    #expect(lines.count { $0.hasPrefix("zone z") } == 4 && lines.count { $0.contains("█") } == 100)
    #expect(!lines.contains { $0.hasPrefix("who") } && lines.allSatisfy { $0.count <= 80 })
  }

  @Test func `bars are as long as what they stand for`() {
    func bar(_ stays: Int, _ comes: Int, _ goes: Int) -> String {
      ShareBar(stays: stays, comes: comes, goes: goes).text(longest: 100, width: 10)
    }
    #expect(bar(50, 0, 0) == "█████" && bar(20, 30, 50) == "██▓▓▓░░░░░")
    #expect(bar(0, 0, 0) == "" && bar(0, 1, 0) == "▓")
    #expect(bar(98, 1, 1) == "████████▓░")
    #expect(ShareBar(stays: 0, comes: 0, goes: 0).text(longest: 0, width: 10) == "")
  }

  // MARK: Changes

  private func changed(_ arguments: String...) throws -> [RingMember] {
    try RingChanges.parse(arguments).applied(to: members)
  }

  private func failure(_ arguments: String...) -> String? {
    do {
      _ = try RingChanges.parse(arguments).applied(to: members + [member(9, "disk3")])
      return nil
    } catch let failure as Failure {
      return failure.status == .usage ? failure.message : nil
    } catch { return nil }
  }

  @Test func `changes by name`() throws {
    #expect(try changed() == members)
    #expect(try changed("--remove", "disk2").map(\.name) == ["disk1", "disk3"])
    #expect(try changed("--remove", "0000000000000002").map(\.name) == ["disk1", "disk3"])
    #expect(try changed("--weigh", "disk2:7").map(\.weight) == [1, 7, 1])
    let added = try changed("--add", "a", "--add", "b:3", "--add", "c:2:room:1", "--remove", "disk1")
    #expect(added.map(\.name) == ["disk2", "disk3", "a", "b", "c"])
    #expect(added.map(\.weight) == [1, 1, 100, 3, 2] && added.map(\.zone).last == "room:1")
    #expect(Set(added.map(\.id)).count == 5)
    #expect(try RingChanges.parse([]).isEmpty && !RingChanges.parse(["--add", "x"]).isEmpty)
  }

  @Test func `changes that cannot be`() throws {
    #expect(failure("--remove", "disk7")?.contains("no store `disk7`; it has `disk1`, `disk2`") == true)
    #expect(failure("--remove", "disk3")?.contains("0000000000000003, 0000000000000009") == true)
    #expect(failure("--weigh", "disk1")?.contains("NAME:WEIGHT") == true)
    for weight in ["0", "1001", "-1", "x", "", "99999999999999999999"] {
      #expect(failure("--weigh", "disk1:\(weight)")?.contains("1 to 1000") == true)
      #expect(failure("--add", "new:\(weight)")?.contains("1 to 1000") == true)
    }
    #expect(failure("--add", ":3")?.contains("NAME") == true)
    #expect(failure("--add", "disk1")?.contains("has a store `disk1`") == true)
  }
}
