package import RoostCausality
import RoostEnvironment
import RoostStorage

// The record `identity` of the system tree:
//
//   identity := version u8 (1) | database high u64 | database low u64 | member u64
//             | complete u8 (1 once all stores of the database were made)
//             | replica u64 | state u8 (0 open, 1 closed) | counter varint
//             | device varint | inode varint | change time u64 (nanoseconds, two's complement)
//
// The last four describe a clean close and are 0 while the store is open. Fixed integers are
// little-endian.

/// Which member of which database a store is, and as which incarnation it mints dots.
package struct IdentityRecord: Equatable, Sendable {
  static let version: UInt8 = 1

  package var database: DatabaseID
  package var member: MemberID
  /// Whether the database's creation reached every store.
  package var isComplete: Bool
  package var replica: ReplicaID
  /// How the store was closed; `nil` while it is open, and so after anything but a clean close.
  package var closed: CleanClose?

  /// What a clean close leaves: the next open goes on as the same incarnation only where it finds
  /// just this.
  package struct CleanClose: Equatable, Sendable {
    /// The last dot's counter.
    package var counter: UInt64
    /// The marker file as it was: another file (a copied or restored directory) is another
    /// incarnation. The change time is looked at because systems give inode numbers out again.
    package var device: UInt64
    package var inode: UInt64
    package var changeNanoseconds: Int64
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: Self.version)
    writer.write(database)
    writer.write(fixed: member.rawValue)
    writer.write(byte: isComplete ? 1 : 0)
    writer.write(fixed: replica.rawValue)
    writer.write(byte: closed == nil ? 0 : 1)
    writer.write(varint: closed?.counter ?? 0)
    writer.write(varint: closed?.device ?? 0)
    writer.write(varint: closed?.inode ?? 0)
    writer.write(fixed: UInt64(bitPattern: closed?.changeNanoseconds ?? 0))
    return writer.bytes
  }

  package init(
    database: DatabaseID, member: MemberID, isComplete: Bool, replica: ReplicaID, closed: CleanClose?
  ) {
    self.database = database
    self.member = member
    self.isComplete = isComplete
    self.replica = replica
    self.closed = closed
  }

  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "the store's identity record")
    _ = try reader.readVersion(upTo: Self.version)
    database = try reader.readDatabase()
    member = MemberID(rawValue: try reader.readFixed())
    isComplete = try reader.readFlag()
    replica = ReplicaID(rawValue: try reader.readFixed())
    let isClosed = try reader.readFlag()
    let close = CleanClose(
      counter: try reader.readVarint(), device: try reader.readVarint(), inode: try reader.readVarint(),
      changeNanoseconds: Int64(bitPattern: try reader.readFixed()))
    guard close.counter < 1 << 62 else { throw reader.damaged("a counter of \(close.counter)") }
    closed = isClosed ? close : nil
    try reader.readEnd()
    guard encoded() == bytes else { throw reader.damaged("it is not as a writer gives it") }
  }
}

extension IdentityRecord.CleanClose {
  /// What stands for a close of a directory as it is now; `nil` where it has no marker.
  static func now(
    _ counter: UInt64, _ path: String, _ environment: Environment
  ) throws(DatabaseError) -> Self? {
    let marker = try storing("the marker of \(path) could not be looked at") { () throws(StoreError) in
      try Store.markerInfo(in: path, environment.fileSystem)
    }
    return marker.map {
      Self(
        counter: counter, device: $0.device, inode: $0.inode, changeNanoseconds: $0.changeNanoseconds)
    }
  }
}

extension FieldReader {
  package mutating func readFlag() throws(DatabaseError) -> Bool {
    let byte = try readByte()
    guard byte <= 1 else { throw damaged("a flag of \(byte)") }
    return byte == 1
  }
}
