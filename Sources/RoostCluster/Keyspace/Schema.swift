// The record `schema` of the system tree:
//
//   schema   := version u8 (4 where a keyspace has fewer replicas than the database, else 3 where one has
//               quorums of its own, else 2 where one is transactional, else 1)
//             | revision varint | count varint | keyspace*
//   keyspace := id varint | name lengthPrefixed | kind u8 | replicas varint
//             | has fewer u8 (0, 1: than the database), in version 4 | quorums, in versions 3 and 4
//             | count varint | index*
//   quorums  := read varint | write varint (0: a majority)
//   kind     := 1 siblings, 2 last writer wins, 3 resolved on read, 4 transactional
//   index    := name lengthPrefixed | extractor version varint | generation varint
//             | state u8 (1 current, 2 stale)
//
// Keyspaces are sorted by name, a keyspace's indexes too. An id or a generation is never used again.

/// The keyspaces of a database. Every store has a copy; the highest revision counts.
package struct Schema: Equatable, Sendable {
  static let newestVersion: UInt8 = 4

  package struct Keyspace: Equatable, Sendable {
    package var id: UInt64
    package var name: String
    package var kind: KeyspacePolicy.Kind
    package var replicas: Int
    package var indexes: [Index]
    /// None in a transactional keyspace.
    package var quorums = KeyspaceQuorums()
    /// Whether it was made to have fewer replicas than the database: the first of each partition's list.
    package var hasFewerReplicas = false
  }

  package struct Index: Equatable, Sendable {
    package enum State: UInt8, Sendable {
      /// Writes keep it; how far it is built, each store knows.
      case current = 1
      /// Writes passed it by: the extractor was not declared. It must be built again.
      case stale = 2
    }
    package var name: String
    /// The version of the extractor that the entries come from.
    package var extractorVersion: UInt64
    /// Which tree holds the entries.
    package var generation: UInt64
    package var state: State
  }

  package var revision: UInt64 = 0
  package var keyspaces: [Keyspace] = []

  package init() {}

  /// Readers of version 1 do not know transactional keyspaces, those of version 2 no quorums, those of
  /// version 3 none with fewer replicas than the database: they refuse a later version by name.
  private var version: UInt8 {
    if hasFewerReplicas { return 4 }
    if keyspaces.contains(where: { !$0.quorums.areMajorities }) { return 3 }
    return hasTransactional ? 2 : 1
  }

  package var hasTransactional: Bool { keyspaces.contains { $0.kind == .transactional } }

  /// Whether some eventual keyspace has fewer replicas than the database.
  package var hasFewerReplicas: Bool { keyspaces.contains(where: \.hasFewerReplicas) }

  /// Whether who has which place of a partition's list may change by a move only: some keyspaces are at the
  /// first ones, and nowhere else.
  package var keepsOrder: Bool { hasTransactional || hasFewerReplicas }

  package func keyspace(_ name: String) -> Keyspace? { keyspaces.first { $0.name == name } }

  /// Puts an index's entry in the place of the one of its name, or beside the others.
  mutating func set(_ index: Index, of keyspace: String) {
    guard let position = keyspaces.firstIndex(where: { $0.name == keyspace }) else { return }
    keyspaces[position].indexes.removeAll { $0.name == index.name }
    keyspaces[position].indexes.append(index)
    keyspaces[position].indexes.sort { $0.name < $1.name }
  }

  /// The schema of a database whose stores have these: that of the highest revision.
  ///
  /// Where stores were opened without others, each part's programs declared indexes and wrote past
  /// them on their own, and the same revision may stand for different things. An index of which not
  /// all say the same may lack keys: it is stale, in a generation that nobody has.
  static func merged(_ schemas: [Schema]) -> Schema? {
    guard var newest = schemas.max(by: { $0.revision < $1.revision }) else { return nil }
    let revision = newest.revision + 1
    var differs = false
    for keyspace in newest.keyspaces {
      let others = schemas.map { $0.keyspace(keyspace.name)?.indexes ?? [] }
      if others.allSatisfy({ $0 == keyspace.indexes }) { continue }
      differs = true
      for var index in keyspace.indexes where !others.allSatisfy({ $0.contains(index) }) {
        index.state = .stale
        index.generation = revision
        newest.set(index, of: keyspace.name)
      }
    }
    if differs { newest.revision = revision }
    return newest
  }

  package func encoded() -> [UInt8] {
    var writer = FieldWriter()
    let version = version
    writer.write(byte: version)
    writer.write(varint: revision)
    writer.write(count: keyspaces.count)
    for keyspace in keyspaces {
      writer.write(varint: keyspace.id)
      writer.write(text: keyspace.name)
      writer.write(byte: keyspace.kind.rawValue)
      writer.write(count: keyspace.replicas)
      if version >= 4 { writer.write(byte: keyspace.hasFewerReplicas ? 1 : 0) }
      if version >= 3 { keyspace.quorums.write(to: &writer) }
      writer.write(count: keyspace.indexes.count)
      for index in keyspace.indexes {
        writer.write(text: index.name)
        writer.write(varint: index.extractorVersion)
        writer.write(varint: index.generation)
        writer.write(byte: index.state.rawValue)
      }
    }
    return writer.bytes
  }

  package init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "the schema record")
    let version = try reader.readVersion(upTo: Self.newestVersion)
    revision = try reader.readOrdinal()
    for _ in 0..<(try reader.readCount(of: 5)) {
      let id = try reader.readOrdinal()
      let name = try reader.readText()
      let rawKind = try reader.readByte()
      guard let kind = KeyspacePolicy.Kind(rawValue: rawKind) else {
        throw reader.damaged("a keyspace of kind \(rawKind)")
      }
      let replicas = try reader.readVarint()
      guard replicas >= 1, replicas <= 1_000 else { throw reader.damaged("\(replicas) replicas") }
      var keyspace = Keyspace(id: id, name: name, kind: kind, replicas: Int(replicas), indexes: [])
      if version >= 4 { keyspace.hasFewerReplicas = try reader.readFlag() }
      if version >= 3 { keyspace.quorums = try KeyspaceQuorums(from: &reader) }
      for _ in 0..<(try reader.readCount(of: 4)) {
        let name = try reader.readText()
        let extractorVersion = try reader.readVarint()
        let generation = try reader.readOrdinal()
        let rawState = try reader.readByte()
        guard let state = Index.State(rawValue: rawState) else {
          throw reader.damaged("an index in state \(rawState)")
        }
        keyspace.indexes.append(
          Index(
            name: name, extractorVersion: extractorVersion, generation: generation, state: state))
      }
      keyspaces.append(keyspace)
    }
    try reader.readEnd()
    guard version == self.version else { throw reader.damaged("the version is not that of its keyspaces") }
    try check(reader)
  }

  /// Names and ids are as the writer makes them.
  private func check(_ reader: FieldReader) throws(DatabaseError) {
    var ids: Set<UInt64> = []
    for (index, keyspace) in keyspaces.enumerated() {
      guard ids.insert(keyspace.id).inserted else { throw reader.damaged("an id stands twice") }
      if keyspace.kind == .transactional, keyspace.replicas != 1 || !keyspace.indexes.isEmpty {
        throw reader.damaged("a transactional keyspace with replicas or indexes")
      }
      if keyspace.kind == .transactional, keyspace.hasFewerReplicas {
        throw reader.damaged("a transactional keyspace that says how many replicas it has")
      }
      let quorums = keyspace.quorums
      if keyspace.kind == .transactional, !quorums.areMajorities {
        throw reader.damaged("a transactional keyspace with quorums")
      }
      if max(quorums.read ?? 1, quorums.write ?? 1) > keyspace.replicas {
        throw reader.damaged("a quorum of more than \(keyspace.replicas) replicas")
      }
      if index > 0, keyspaces[index - 1].name >= keyspace.name {
        throw reader.damaged("keyspaces are not sorted")
      }
      for (index, entry) in keyspace.indexes.enumerated() where index > 0 {
        if keyspace.indexes[index - 1].name >= entry.name { throw reader.damaged("indexes are not sorted") }
      }
      let names = [keyspace.name] + keyspace.indexes.map(\.name)
      for name in names where Self.problem(name: name, of: "a name") != nil {
        throw reader.damaged("a name of \(name.utf8.count) bytes is not one")
      }
    }
  }

  /// That its keyspaces have the replicas that a ring has for them: before it is made durable beside it.
  ///
  /// - Throws: `.corruption`.
  func check(_ ring: Ring) throws(DatabaseError) {
    for keyspace in keyspaces
    where keyspace.kind != .transactional
      && (keyspace.replicas > ring.replicas
        || keyspace.hasFewerReplicas != (keyspace.replicas < ring.replicas))
    {
      throw DatabaseError(
        .corruption,
        "the keyspace `\(keyspace.name)` has \(keyspace.replicas) replicas in the schema, the ring "
          + "\(ring.replicas)")
    }
  }

  /// What is wrong with a keyspace's or an index's name, if anything.
  package static func problem(name: String, of what: String) -> DatabaseError? {
    let allowed = name.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
        || byte == 0x2E || byte == 0x2D || byte == 0x5F
    }
    if allowed, !name.isEmpty, name.utf8.count <= 64 { return nil }
    return DatabaseError(
      .invalidArgument,
      "\(what) must have 1 to 64 letters, digits, dots, dashes and underscores; `\(name)` has not")
  }
}
