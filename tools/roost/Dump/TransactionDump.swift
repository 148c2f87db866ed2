import RoostCausality
import RoostCluster
import RoostStorage
import RoostTransactions

/// Explains what transactions leave in files: versions of keys, the tree of transactions, a coordinator's
/// decisions.
struct TransactionDump {
  private let bytes: BytesOptions

  init(_ bytes: BytesOptions) { self.bytes = bytes }

  // MARK: - Versions

  func current(_ key: [UInt8], _ value: [UInt8]?) -> RecordDump.Meaning? {
    guard key.count > StoredKey.prefixBytes else { return nil }
    let partition = Int(key[0]) << 8 | Int(key[1])
    let userKey = Array(key.dropFirst(StoredKey.prefixBytes))
    let shown = "partition \(partition) \(bytes.text(userKey))"
    return version(shown, value, "committed") { json in
      json.member("partition", partition)
      json.member("userKey", data: userKey)
    }
  }

  func history(_ key: [UInt8], _ value: [UInt8]?) -> RecordDump.Meaning? {
    guard let (partition, userKey, timestamp) = VersionKey.splitHistory(key) else {
      return RecordDump.Meaning(key: bytes.text(key), problem: "no key of a history")
    }
    let shown =
      "partition \(partition) \(bytes.text(userKey)) committed \(Timestamp(rawValue: timestamp))"
    return version(shown, value, "superseded") { json in
      json.member("partition", partition)
      json.member("userKey", data: userKey)
      json.member("committed", timestamp)
    }
  }

  private func version(
    _ key: String, _ value: [UInt8]?, _ name: String, _ members: @escaping (inout JSONWriter) -> Void
  ) -> RecordDump.Meaning {
    guard let value else { return RecordDump.Meaning(key: key, members: members) }
    do throws(DatabaseError) {
      let version = try unsafe StoredVersion(decoding: value.span.bytes)
      let text = version.value.map { bytes.text($0) } ?? "deleted"
      return RecordDump.Meaning(
        key: key, value: "\(name) \(version.timestamp)    \(text)",
        members: { json in
          members(&json)
          json.member("timestamp", version.timestamp.rawValue)
          if let value = version.value { json.member("value", data: value) }
        })
    } catch {
      return RecordDump.Meaning(key: key, members: members, problem: "no version: \(error.message)")
    }
  }

  // MARK: - The tree of transactions

  func transaction(_ key: [UInt8], _ value: [UInt8]?) -> RecordDump.Meaning? {
    guard let (kind, id, index) = TransactionKey.split(key) else {
      return RecordDump.Meaning(key: bytes.text(key), problem: "no key of a transaction")
    }
    let names: [TransactionKey.Kind: String] = [
      .prepared: "prepared", .outcome: "outcome of", .mark: "effect of", .forced: "forced",
      .ended: "end of coordinator",
    ]
    let name = kind == .ended ? "\(id.coordinator)" : "\(id)"
    let shown = "\(names[kind] ?? "") \(name)" + (index.map { " index \($0)" } ?? "")
    func members(_ json: inout JSONWriter) {
      json.member("kind", "\(kind)")
      json.member("transaction", "\(id)")
      if let index { json.member("index", index) }
    }
    guard let value else { return RecordDump.Meaning(key: shown, members: members) }
    do throws(DatabaseError) {
      return RecordDump.Meaning(key: shown, value: try text(kind, id, value), members: members)
    } catch {
      return RecordDump.Meaning(key: shown, members: members, problem: error.message)
    }
  }

  private func text(
    _ kind: TransactionKey.Kind, _ id: TransactionID, _ value: [UInt8]
  ) throws(DatabaseError) -> String {
    switch kind {
    case .prepared:
      let record = try PreparedRecord(id, decoding: value)
      let writes = record.writes.map { write in
        "\(write.target.keyspace)/\(write.target.partition)/\(bytes.text(write.target.key)) "
          + (write.value.map { "= \(bytes.text($0))" } ?? "deleted")
      }
      return "at \(record.timestamp), written by \(members(record.writers))"
        + (record.isSynced ? ", synced" : "") + ": " + writes.joined(separator: ", ")
    case .outcome, .forced:
      let record = try OutcomeRecord(id, decoding: value)
      let outcome =
        switch record.outcome {
        case .committed(let timestamp): "committed at \(timestamp)"
        case .aborted: "aborted"
        }
      return "\(outcome), recorded \(record.recorded)"
    case .ended: return "noted \(try EffectMark(id, decoding: value).recorded)"
    case .mark: return "done \(try EffectMark(id, decoding: value).recorded)"
    }
  }

  private func members(_ members: [MemberID]) -> String {
    members.map { hexadecimal($0.rawValue) }.joined(separator: " ")
  }

  // MARK: - The coordinator log

  /// What a record of a coordinator log says.
  func decision(_ payload: [UInt8]) throws(DatabaseError) -> String {
    switch try CoordinatorRecord(decoding: payload) {
    case .begin(let beginning):
      return "coordinator \(beginning.coordinator), file \(beginning.log.device):\(beginning.log.inode), "
        + "PLACE \(beginning.place.device):\(beginning.place.inode)"
        + beginning.commits.map { "; \(text($0))" }.joined()
    case .commit(let record): return text(record)
    case .end(let id): return "END \(id)"
    }
  }

  private func text(_ record: CommitRecord) -> String {
    "COMMIT \(record.transaction) at \(record.timestamp) to \(members(record.writers))"
      + (record.isSynced ? ", synced" : "")
      + (record.effects.isEmpty ? "" : ", \(Format.count(record.effects.count, "effect"))")
  }
}
