import RoostCausality

// What a node asks a replica for when it reads the changes of many partitions:
//
//   request := version u8 (1) | head (`MessageHead`)
//            | position lengthPrefixed (what a change token seals; of the partitions asked for) | partitions
//            | is bounded u8 | until varint (0: up to now) | changes varint | bytes varint
//   answer  := version u8 (2) | member u64 | is end u8 | settled varint | next varint
//            | step count varint | (partition varint | tenancy varint | number varint | began varint)*
//            | found count varint | (step varint | kind u8 | change, where the kind is 1)*
//   kind    := 0 the step's partition begins again, 1 a change
//   change  := number varint | key lengthPrefixed | record lengthPrefixed
//
// Version 1 of an answer does not say where a partition was begun (`FeedPosition.Place.began`).

/// Asks a replica for the next changes of some of its partitions. A plain value.
struct FeedRequest: Sendable {
  /// By the lists of the partitions.
  var head: MessageHead
  /// What the keyspace's tokens are bound to.
  var seed: UInt64
  /// Of other partitions than those it has nothing.
  var position: FeedPosition
  /// Ascending.
  var partitions: [Int]
  /// Whether what is written later is left out.
  var isBounded: Bool
  /// Where it is bounded: the number at which an earlier page said it is; `nil` for the first.
  var until: UInt64?
  var changeLimit: Int
  var byteLimit: Int

  static let mostChanges = 1_024
  static let mostBytes = 256 << 10

  func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(head)
    writer.write(lengthPrefixed: position.encoded(seed))
    writer.write(partitions: partitions)
    writer.write(byte: isBounded ? 1 : 0)
    writer.write(varint: until ?? 0)
    writer.write(count: changeLimit)
    writer.write(count: byteLimit)
    return writer.bytes
  }

  init(
    _ head: MessageHead, seed: UInt64, _ position: FeedPosition, _ partitions: [Int], isBounded: Bool,
    until: UInt64?, changeLimit: Int, byteLimit: Int
  ) {
    self.head = head
    self.seed = seed
    var own = FeedPosition(partitionCount: position.places.count)
    own.next = position.next
    for partition in partitions { own.places[partition] = position.places[partition] }
    self.position = own
    self.partitions = partitions
    self.isBounded = isBounded
    self.until = until
    self.changeLimit = changeLimit
    self.byteLimit = byteLimit
  }

  /// - Throws: `.invalidArgument`, `.damagedToken` (the position), `.newerFormat`.
  init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a request for changes", .invalidArgument)
    _ = try reader.readVersion(upTo: 1)
    head = try reader.readHead()
    (seed, position, _) = try FeedPosition.decode(try reader.readLengthPrefixed())
    partitions = try reader.readPartitions()
    isBounded = try reader.readFlag()
    let number = try reader.readVarint()
    until = number == 0 ? nil : number
    changeLimit = Int(try reader.readOrdinal())
    byteLimit = Int(try reader.readOrdinal())
    guard changeLimit >= 1 else { throw reader.damaged("a page of no changes") }
    try reader.readEnd()
  }
}

extension FeedPart {
  /// - Parameter member: whose store has told it.
  func encoded(_ member: MemberID) -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 2)
    writer.write(fixed: member.rawValue)
    writer.write(byte: isAtEnd ? 1 : 0)
    writer.write(varint: settled)
    writer.write(count: next)
    writer.write(count: steps.count)
    for step in steps {
      writer.write(count: step.partition)
      writer.write(varint: step.tenure.tenancy)
      writer.write(varint: step.number)
      writer.write(varint: step.began)
    }
    writer.write(count: found.count)
    for one in found {
      writer.write(count: one.step)
      switch one.event {
      case .resync: writer.write(byte: 0)
      case .changed(let key, let record):
        writer.write(byte: 1)
        writer.write(varint: one.number)
        writer.write(lengthPrefixed: key)
        writer.write(lengthPrefixed: ReplicaMessage.bytes(of: record))
      }
    }
    return writer.bytes
  }

  /// - Parameters:
  ///   - partitions: those that were asked for, ascending.
  ///   - count: how many partitions there are.
  /// - Throws: `.corruption`, `.newerFormat`.
  init(decoding bytes: [UInt8], of partitions: [Int], count: Int) throws(DatabaseError) {
    self.partitions = partitions
    let asked = Set(partitions)
    var reader = FieldReader(bytes, "a page of changes")
    let version = try reader.readVersion(upTo: 2)
    let member = MemberID(rawValue: try reader.readFixed())
    isAtEnd = try reader.readFlag()
    settled = try reader.readVarint()
    next = Int(try reader.readOrdinal())
    guard next < count else { throw reader.damaged("to go on with partition \(next) of \(count)") }
    steps = []
    for _ in 0..<(try reader.readCount(of: 3)) {
      let partition = Int(try reader.readOrdinal())
      guard asked.contains(partition) else {
        throw reader.damaged("partition \(partition) was not asked for")
      }
      let tenure = FeedPosition.Tenure(member: member, tenancy: try reader.readVarint())
      let number = try reader.readVarint()
      let began = version >= 2 ? try reader.readVarint() : 0
      steps.append(FeedTrail.Step(partition: partition, tenure: tenure, number: number, began: began))
    }
    found = []
    for _ in 0..<(try reader.readCount(of: 2)) {
      let step = Int(try reader.readOrdinal())
      guard step < steps.count else { throw reader.damaged("a change of step \(step)") }
      switch try reader.readByte() {
      case 0: found.append(Found(event: .resync(partition: steps[step].partition), step: step, number: 0))
      case 1:
        let number = try reader.readVarint()
        let key = try reader.readLengthPrefixed()
        guard let record = try ReplicaMessage.record(try reader.readLengthPrefixed()) else {
          throw reader.damaged("a change without a record")
        }
        found.append(Found(event: .changed(key: key, record), step: step, number: number))
      case let other: throw reader.damaged("a change of kind \(other)")
      }
    }
    try reader.readEnd()
  }
}
