import Testing

@testable import RoostStorage

// Budget: 1 s
@Suite struct LogInspectionTests {
  static func parts(_ fixture: LogFixture) throws -> [String] {
    var lines: [String] = []
    var at: Int64 = 64
    let header = try LogInspection.read(fixture.files, fixture.directory.appending(fixture.name(0)))
    {
      #expect($0.offset == at, "parts leave no gap")
      at += $0.byteCount
      lines.append("\($0.offset)+\($0.byteCount) \($0.content) \($0.payload.count)")
    }
    #expect(at == header.byteCount && header.purpose == 1 && header.number == 7)
    return lines
  }

  @Test func showsEveryFrame() throws {
    let (fixture, _) = try LogReplayTests.small()
    #expect(
      try Self.parts(fixture) == [
        "64+32 record 9", "96+32 record 10", "128+32 record 11",
        "160+32 mark(log: 7, offset: 160) 16",
        "192+32 record 12", "224+32 record 13", "256+144 unused 0",
      ])
  }

  @Test func findsTheNextFrameBehindDamage() throws {
    let (fixture, _) = try LogReplayTests.small()
    var bytes = fixture.files[fixture.name(0)]
    bytes[96 + 9] = 0xFF  // the length of the second record
    bytes[128 + 20] ^= 1  // a byte of the third
    for i in 224..<240 { bytes[i] = 0 }
    bytes[390] = 1
    fixture.files[fixture.name(0)] = bytes
    #expect(
      try Self.parts(fixture) == [
        "64+32 record 9", "96+64 invalid 0", "160+32 mark(log: 7, offset: 160) 16",
        "192+32 record 12",
        "224+168 invalid 0", "392+8 unused 0",
      ])
  }

  @Test func namesTheClaimOfADamagedFrame() throws {
    let (fixture, _) = try LogReplayTests.small()
    var bytes = fixture.files[fixture.name(0)]
    bytes[64] ^= 1
    fixture.files[fixture.name(0)] = bytes
    var claim: String?
    try LogInspection.read(fixture.files, "/store/000007.log") {
      if $0.content == .invalid { claim = "\($0.claimedKind ?? 0) \($0.claimedLength ?? 0)" }
    }
    #expect(claim == "1 9")
  }
}
