package import RoostCausality

// What an export seals:
//
//   payload := keyspace lengthPrefixed | policy u8 | complete u8 | token lengthPrefixed
//            | count varint | state*
//   state   := key lengthPrefixed | record lengthPrefixed
//
// The policy is the kind of keyspace as the schema has it, the token the payload of a change token
// of the exporting database (`FeedPosition`), a record as in RoostCausality.

/// States of a keyspace's keys, for another database to join into its own.
///
/// Each state is its key's whole record, what was deleted included: so pages may come late, twice,
/// in any order or not at all, and databases that got the same states in the end hold the same.
///
/// A plain value.
public struct ExportPage: Sendable {
  package struct State: Sendable {
    package var key: [UInt8]
    package var record: Record
  }

  /// The keyspace that the states are from, and go to.
  public let keyspace: String
  package let kind: KeyspacePolicy.Kind
  /// Whether this was all that there was when the export began; else go on with ``token``.
  public let isComplete: Bool
  /// Resumes after this page, in the database that exported it.
  public let token: ChangeToken
  package let states: [State]

  init(
    keyspace: String, kind: KeyspacePolicy.Kind, isComplete: Bool, token: ChangeToken, states: [State]
  ) {
    self.keyspace = keyspace
    self.kind = kind
    self.isComplete = isComplete
    self.token = token
    self.states = states
  }

  /// How many states it has.
  public var count: Int { states.count }

  /// The page as bytes, to be sent: sealed with a checksum.
  ///
  /// - Complexity: O(n) of the bytes.
  public var bytes: [UInt8] {
    var writer = FieldWriter()
    writer.write(text: keyspace)
    writer.write(byte: kind.rawValue)
    writer.write(byte: isComplete ? 1 : 0)
    writer.write(lengthPrefixed: token.payload)
    writer.write(count: states.count)
    var encoding: [UInt8] = []
    for state in states {
      writer.write(lengthPrefixed: state.key)
      encoding.removeAll(keepingCapacity: true)
      state.record.encode(into: &encoding)
      writer.write(lengthPrefixed: encoding)
    }
    return SealedToken.seal(.export, writer.bytes)
  }

  /// The page that ``bytes`` gave.
  ///
  /// - Throws: ``DatabaseError`` with code `.damagedToken` for anything else, or `.newerFormat`.
  /// - Complexity: O(n) of the bytes.
  public init(bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(try SealedToken.open(.export, bytes), "an export", .damagedToken)
    keyspace = try reader.readText()
    if let problem = Schema.problem(name: keyspace, of: "a keyspace's name") {
      throw reader.damaged(problem.message)
    }
    let rawKind = try reader.readByte()
    guard let kind = KeyspacePolicy.Kind(rawValue: rawKind) else {
      throw reader.damaged("a keyspace of kind \(rawKind)")
    }
    self.kind = kind
    isComplete = try reader.readFlag()
    token = try ChangeToken(payload: try reader.readLengthPrefixed())
    var states: [State] = []
    for _ in 0..<(try reader.readCount(of: 6)) {
      let key = try reader.readLengthPrefixed()
      guard key.count >= 1, key.count <= StoredKey.longestKey else {
        throw reader.damaged("a key of \(key.count) bytes")
      }
      let encoding = try reader.readLengthPrefixed()
      do throws(CausalityError) {
        states.append(State(key: key, record: try Record(decoding: encoding)))
      } catch {
        if error.code == .newerFormat { throw DatabaseError(error) }
        throw reader.damaged("\(error)")
      }
    }
    self.states = states
    try reader.readEnd()
  }
}

/// What joining an ``ExportPage`` did.
public struct JoinSummary: Sendable, Hashable {
  /// States in the page.
  public var states: Int
  /// States from which some replica here learned something.
  public var changed: Int

  public init(states: Int, changed: Int) {
    self.states = states
    self.changed = changed
  }
}
