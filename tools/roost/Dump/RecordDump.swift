import RoostCausality
import RoostCluster
import RoostEnvironment
import RoostStorage
import SystemPackage

/// Explains the keys and values of a database's trees: partitions, records with their siblings and
/// contexts, the change feed, what the system tree says.
///
/// What it cannot make sense of it leaves to be shown as plain bytes, and says why.
struct RecordDump {
  /// The trees by id, as the manifest beside the file names them; none where there is no manifest.
  private let trees: [UInt64: String]
  private let directory: String
  private let fileSystem: any FileSystem
  private let bytes: BytesOptions

  init(_ fileSystem: any FileSystem, fileAt path: FilePath, hex: Bool) {
    self.fileSystem = fileSystem
    directory = path.removingLastComponent().string
    // Damage of the manifest is told where the manifest is dumped.
    let found = try? StoreInspection.trees(in: directory.isEmpty ? "." : directory, fileSystem)
    trees = (found ?? nil) ?? [:]
    var options = BytesOptions()
    options.hex = hex
    bytes = options
  }

  /// Whether the file lies in a store of a database.
  var isDatabase: Bool { trees.values.contains(Member.systemTree) }

  func tree(_ id: UInt64) -> String? { trees[id] }

  func tree(ofTableAt path: FilePath) -> String? {
    guard isDatabase, let name = path.lastComponent?.string, let number = FileNames.parse(name)?.number
    else { return nil }
    return
      (try? StoreInspection.tree(ofTable: number, in: directory.isEmpty ? "." : directory, fileSystem))
      ?? nil
  }

  /// What a key, and a value where there is one, of a tree say.
  struct Meaning {
    var key: String
    var value: String?
    var members: (inout JSONWriter) -> Void = { _ in }
    var problem: String?

    /// Adds it to an open JSON object, as an object of its own.
    func write(to json: inout JSONWriter) {
      json.name("meaning")
      json.beginObject()
      members(&json)
      json.endObject()
    }
  }

  /// - Returns: `nil` where the tree is not a database's.
  func meaning(_ tree: String?, _ key: [UInt8], _ value: [UInt8]?) -> Meaning? {
    guard isDatabase, let tree else { return nil }
    if tree == Member.systemTree { return system(key, value) }
    if tree.hasPrefix("keyspace/") { return record(key, value) }
    if tree.hasPrefix("changes/") { return change(key, value) }
    if tree.hasPrefix(KeyspaceCore.leafTrees) { return leaf(key, value) }
    if tree.hasPrefix("current/") { return TransactionDump(bytes).current(key, value) }
    if tree.hasPrefix("history/") { return TransactionDump(bytes).history(key, value) }
    if tree == Member.transactionTree { return TransactionDump(bytes).transaction(key, value) }
    if tree.hasPrefix("index/") {
      return key == BuildRecord.key ? build(value) : indexEntry(key)
    }
    return nil
  }

  private func partition(_ key: [UInt8]) -> (number: Int, rest: [UInt8])? {
    guard key.count >= StoredKey.prefixBytes else { return nil }
    return (Int(key[0]) << 8 | Int(key[1]), Array(key.dropFirst(StoredKey.prefixBytes)))
  }

  private func record(_ key: [UInt8], _ value: [UInt8]?) -> Meaning? {
    guard let (partition, userKey) = partition(key) else { return nil }
    let shown = "partition \(partition) \(bytes.text(userKey))"
    func keyMembers(_ json: inout JSONWriter) {
      json.member("partition", partition)
      json.member("userKey", data: userKey)
    }
    guard let value else { return Meaning(key: shown, members: keyMembers) }
    do throws(DatabaseError) {
      let stored = try unsafe StoredRecord(decoding: value.span.bytes)
      let view = RecordView(bytes: bytes, long: false)
      return Meaning(
        key: shown,
        value: "change \(Timestamp(rawValue: stored.changeNumber))    \(view.line(stored.record))",
        members: { json in
          keyMembers(&json)
          json.member("change", stored.changeNumber)
          view.write(stored.record, visible: stored.record.siblings.elements, to: &json)
        })
    } catch {
      return Meaning(key: shown, members: keyMembers, problem: "no record: \(error.message)")
    }
  }

  private func change(_ key: [UInt8], _ value: [UInt8]?) -> Meaning? {
    guard let (partition, _) = partition(key), let number = unsafe FeedKey.number(key.span.bytes) else {
      return nil
    }
    if number == 0 { return reaped(partition, value) }
    return Meaning(
      key: "partition \(partition) change \(Timestamp(rawValue: number))",
      value: value.map { "of \(bytes.text($0))" },
      members: { json in
        json.member("partition", partition)
        json.member("change", number)
        if let value { json.member("userKey", data: value) }
      })
  }

  /// Of the hash trees by which replicas compare a keyspace.
  private func leaf(_ key: [UInt8], _ value: [UInt8]?) -> Meaning? {
    switch LeafKey(key) {
    case nil: return nil
    case .mark(let partition):
      let shown = "partition \(partition) leaves are whole"
      func keyMembers(_ json: inout JSONWriter) { json.member("partition", partition) }
      guard let value else { return Meaning(key: shown, members: keyMembers) }
      do throws(DatabaseError) {
        let mark = try LeafMark(decoding: value)
        return Meaning(
          key: shown, value: "seed \(mark.seed)",
          members: { json in
            keyMembers(&json)
            json.member("seed", mark.seed)
          })
      } catch { return Meaning(key: shown, members: keyMembers, problem: "no mark: \(error.message)") }
    case .leaf(let number, let partition):
      let shown = "partition \(partition) leaf \(number)"
      func keyMembers(_ json: inout JSONWriter) {
        json.member("partition", partition)
        json.member("leaf", number)
      }
      guard let value else { return Meaning(key: shown, members: keyMembers) }
      guard let leaf = unsafe TreeLeaf(decoding: value.span.bytes) else {
        return Meaning(key: shown, members: keyMembers, problem: "no leaf: \(value.count) bytes")
      }
      return Meaning(
        key: shown, value: "hash \(leaf.hash) of \(leaf.keys) keys",
        members: { json in
          keyMembers(&json)
          json.member("hash", leaf.hash)
          json.member("keys", UInt64(leaf.keys))
        })
    }
  }

  /// Up to which change records of a partition were reaped.
  private func reaped(_ partition: Int, _ value: [UInt8]?) -> Meaning {
    let key = "partition \(partition) reaped"
    func keyMembers(_ json: inout JSONWriter) { json.member("partition", partition) }
    guard let value else { return Meaning(key: key, members: keyMembers) }
    do throws(DatabaseError) {
      let number = try ReapedMark.decode(value)
      return Meaning(
        key: key, value: "up to change \(Timestamp(rawValue: number))",
        members: { json in
          keyMembers(&json)
          json.member("reapedUpTo", number)
        })
    } catch { return Meaning(key: key, members: keyMembers, problem: "no mark: \(error.message)") }
  }

  private func indexEntry(_ key: [UInt8]) -> Meaning? {
    guard let (partition, suffix) = partition(key), let (term, userKey) = IndexKey.split(suffix) else {
      return nil
    }
    return Meaning(
      key: "partition \(partition) term \(bytes.text(term)) of \(bytes.text(userKey))",
      members: { json in
        json.member("partition", partition)
        json.member("term", data: term)
        json.member("userKey", data: userKey)
      })
  }

  /// How far the index is built in this store.
  private func build(_ value: [UInt8]?) -> Meaning? {
    guard let value else { return Meaning(key: "build record") }
    do throws(DatabaseError) {
      let record = try BuildRecord(decoding: value)
      var text = "done"
      if !record.isDone {
        text = "building"
        if let (partition, userKey) = partition(record.position) {
          text += ", past partition \(partition) \(bytes.text(userKey))"
        }
      }
      return Meaning(key: "build record", value: text) { json in
        json.member("isDone", record.isDone)
        if !record.isDone { json.member("position", data: record.position) }
      }
    } catch { return Meaning(key: "build record", problem: error.message) }
  }

  private func system(_ key: [UInt8], _ value: [UInt8]?) -> Meaning? {
    let name = String(decoding: key, as: UTF8.self)
    guard let value else { return Meaning(key: name) }
    do throws(DatabaseError) {
      switch name {
      case Member.SystemKey.identity: return try identity(name, value)
      case Member.SystemKey.clock:
        let bound = try ClockRecord.decode(value)
        return Meaning(key: name, value: "no timestamp above \(bound) was issued") {
          $0.member("bound", bound.rawValue)
        }
      case Member.SystemKey.ring: return try ring(name, value)
      case Member.SystemKey.schema: return try schema(name, value)
      case let name where name == Member.SystemKey.handover || name.hasPrefix(Member.SystemKey.handovers):
        let record = try HandoverRecord(decoding: value)
        let text = "partition \(record.partition) is given up for member "
          + "\(hexadecimal(record.member.rawValue)); nothing of it was read above \(record.highest)"
        return Meaning(key: name, value: text) {
          $0.member("partition", record.partition)
          $0.member("member", hexadecimal(record.member.rawValue))
          $0.member("highest", record.highest.rawValue)
        }
      default: return nil
      }
    } catch {
      return Meaning(key: name, problem: error.message)
    }
  }

  private func identity(_ name: String, _ value: [UInt8]) throws(DatabaseError) -> Meaning {
    let record = try IdentityRecord(decoding: value)
    var text = "database \(record.database), member \(hexadecimal(record.member.rawValue)), "
    text += "incarnation \(record.replica)"
    if let closed = record.closed {
      text += ", closed at dot \(closed.counter) (marker \(closed.device):\(closed.inode))"
    } else {
      text += ", open"
    }
    if !record.isComplete { text += "; its creation did not reach every store" }
    return Meaning(key: name, value: text) { json in
      json.member("database", "\(record.database)")
      json.member("member", hexadecimal(record.member.rawValue))
      json.member("replica", "\(record.replica)")
      json.member("isOpen", record.closed == nil)
      if let closed = record.closed { json.member("counter", closed.counter) }
    }
  }

  private func ring(_ name: String, _ value: [UInt8]) throws(DatabaseError) -> Meaning {
    let state = try RingState(decoding: value)
    let ring = state.ring
    var text = "revision \(state.revision), epoch \(ring.epoch): \(ring.partitionCount) partitions, "
    text += "\(ring.replicas) replicas, members "
    text += zip(ring.members, ring.loads).map { member, load in
      "\(hexadecimal(member.id.rawValue)) \(member) \(load.slots) at \(state.places[member.id] ?? "?")"
    }.joined(separator: ", ")
    if !state.copies.isEmpty { text += "; \(state.copies.count) partitions being copied" }
    if !state.drops.isEmpty { text += "; \(state.drops.count) to be dropped" }
    return Meaning(key: name, value: text) { json in
      json.member("revision", state.revision)
      json.member("epoch", ring.epoch)
      json.member("partitions", ring.partitionCount)
      json.member("replicas", ring.replicas)
      json.member("members", ring.members.count)
      json.member("copying", state.copies.count)
      json.member("dropping", state.drops.count)
    }
  }

  private func schema(_ name: String, _ value: [UInt8]) throws(DatabaseError) -> Meaning {
    let schema = try Schema(decoding: value)
    let list = schema.keyspaces.map { keyspace in
      "\(keyspace.id) `\(keyspace.name)` \(keyspace.kind)\(keyspace.quorums)"
        + keyspace.indexes.map { ", index `\($0.name)` version \($0.extractorVersion) \($0.state)" }
        .joined()
    }
    let keyspaces = list.isEmpty ? "no keyspaces" : list.joined(separator: "; ")
    let text = "revision \(schema.revision); \(keyspaces)"
    return Meaning(key: name, value: text) { json in
      json.member("revision", schema.revision)
      json.member("keyspaces", schema.keyspaces.count)
    }
  }
}
