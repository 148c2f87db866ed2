import RoostCausality
import TestSupport
import Testing

@testable import RoostCluster

/// What is written and said of a change of the members: it comes back as it went, and damage is refused.
// Budget: 5 s
@Suite struct MembersMessageTests {
  private static let requests: [MembersRequest] = [
    .cancel,
    MembersRequest([.admit(MemberID(rawValue: 7), weight: nil, zone: nil)]),
    MembersRequest(
      [
        .admit(MemberID(rawValue: .max), weight: 1_000, zone: "room 1"),
        .remove(MemberID(rawValue: 1), isDead: true), .weigh(MemberID(rawValue: 2), 300),
        .replace(MemberID(rawValue: 3), by: MemberID(rawValue: 4), isDead: false),
      ], isForced: true),
  ]

  private static var progress: ChangeProgress {
    var progress = ChangeProgress()
    progress.revision = 300
    progress.isUnderWay = true
    progress.movesLeft = 12
    let (one, other) = (MemberID(rawValue: 1), MemberID(rawValue: 2))
    progress.moving = [PartitionMove(partition: 200, slot: 2, from: one, to: other)]
    progress.dropsLeft = 3
    progress.leaving = [one]
    progress.keys = 1 << 40
    progress.waitsSince = 1_700_000_000_000
    progress.waitsFor = "member 1"
    return progress
  }

  @Test func `messages come back as they went`() throws {
    for request in Self.requests { #expect(try MembersRequest(decoding: request.encoded()) == request) }
    #expect(try ChangeProgress(decoding: Self.progress.encoded()) == Self.progress)
    #expect(try RingRequest(decoding: RingRequest(atLeast: 300).encoded()) == RingRequest(atLeast: 300))
  }

  /// The bytes are for good.
  @Test func `a request has the bytes that the format says`() throws {
    let request = MembersRequest([
      .replace(MemberID(rawValue: 1), by: MemberID(rawValue: 2), isDead: true)
    ])
    #expect(request.encoded() == (try FormatDocument.example("members-request")))
    #expect(NodeMessageKind.ring == 9 && NodeMessageKind.changeMembers == 10)
  }

  @Test func `cut off or changed, each is refused or is another`() throws {
    for body in Self.requests.map({ $0.encoded() }) + [Self.progress.encoded(), [1, 5]] {
      for count in body.indices {
        let cut = Array(body[..<count])
        _ = try? MembersRequest(decoding: cut)
        #expect(code { _ = try ChangeProgress(decoding: cut) } != nil)
      }
      for bit in 0..<(8 * body.count) {
        var changed = body
        changed[bit / 8] ^= 1 << UInt8(bit % 8)
        _ = try? MembersRequest(decoding: changed)
        _ = try? ChangeProgress(decoding: changed)
        _ = try? RingRequest(decoding: changed)
      }
    }
    for request in Self.requests {
      let body = request.encoded()
      #expect(code { _ = try MembersRequest(decoding: Array(body.dropLast())) } == .invalidArgument)
      #expect(code { _ = try MembersRequest(decoding: [2] + body.dropFirst()) } == .newerFormat)
    }
  }

  @Test func `the directory's record keeps its change, and one without is read`() throws {
    let world = try NodeWorld(3)
    var record = try world.database()
    #expect(record.change == nil)
    var change = MembershipChange(number: 300)
    change.dead = [world.id(1)]
    change.isForced = true
    record.change = change
    let body = record.encoded()
    #expect(try DatabaseRecord(decoding: body).change == change)
    for count in body.indices {
      #expect(code { _ = try DatabaseRecord(decoding: Array(body[..<count])) } != nil)
    }
    record.change = nil
    var old = record.encoded()
    #expect(old.suffix(2) == [0, 0])
    old.removeLast(2)
    old[0] = 1
    #expect(try DatabaseRecord(decoding: old).ring == record.ring)
  }

  @Test func `the record of a cluster with transactions says who has held partitions`() throws {
    let world = try NodeWorld(3)
    try world[0].noteTransactions()
    let record = try world.database()
    #expect(record.hasTransactions && record.holders == Set((0..<3).map { world.id($0) }))
    let body = record.encoded()
    #expect(body[0] == 3)
    for count in body.indices {
      #expect(code { _ = try DatabaseRecord(decoding: Array(body[..<count])) } != nil)
    }
    // One of before says nothing of them: then they are all that there are.
    var old = Array(body.dropLast(8 * 3 + 1))
    old[0] = 2
    #expect(try DatabaseRecord(decoding: old).holders == record.holders)
  }

  /// Where it tells who holds what.
  @Test func `a list's print says in which order, and to which place it moves`() {
    let members = (1...3).map { MemberID(rawValue: $0) }
    let list = Array(members[..<2])
    func move(_ slot: Int, to member: MemberID) -> PartitionMove {
      PartitionMove(partition: 0, slot: slot, from: list[slot], to: member)
    }
    let prints: [UInt64] = [
      RingView.orderedPrint(list, nil), RingView.orderedPrint([members[1], members[0]], nil),
      RingView.orderedPrint(list, move(0, to: members[2])),
      RingView.orderedPrint(list, move(1, to: members[2])),
      RingView.orderedPrint(list, move(1, to: MemberID(rawValue: 4))),
      RingView.orderedPrint(members, nil),
      // Nor is it one that says nothing of the order.
      RingView.print(list, nil), RingView.print(members, nil),
    ]
    #expect(Set(prints).count == prints.count)
  }

  @Test func `a list's print says who is in it and whom it moves to, in any order`() {
    let members = (1...4).map { MemberID(rawValue: $0) }
    let print = RingView.print([members[0], members[1]], nil)
    #expect(print == RingView.print([members[1], members[0]], nil))
    #expect(print != RingView.print([members[0], members[2]], nil))
    #expect(print != RingView.print([members[0], members[1]], members[2]))
    #expect(
      RingView.print([members[0], members[1]], members[2])
        != RingView.print([members[0], members[2]], members[1]))
  }
}
