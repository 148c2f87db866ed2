/// How many replicas of a key answer a read, and how many have a write before it is acknowledged, where a
/// request does not say: chosen when a keyspace is made, and kept.
///
///   quorums := read varint | write varint (0: a majority)
package struct KeyspaceQuorums: Hashable, Sendable {
  /// `nil` for a majority of the replicas.
  package var read: Int?
  /// `nil` for a majority of the replicas.
  package var write: Int?

  package init(read: Int? = nil, write: Int? = nil) {
    self.read = read
    self.write = write
  }

  /// Both are a majority. What has none but these is written as it was before there were others.
  package var areMajorities: Bool { read == nil && write == nil }

  /// - Throws: `.invalidArgument`: there are fewer replicas, or fewer than one are asked for.
  func check(replicas: Int, of keyspace: String) throws(DatabaseError) {
    for (name, count) in [("read", read), ("write", write)] {
      guard let count, !(1...replicas).contains(count) else { continue }
      throw DatabaseError(
        .invalidArgument,
        "the keyspace `\(keyspace)` asks for a \(name) quorum of \(count); it must be 1 to \(replicas), the "
          + "number of replicas")
    }
  }

  /// What is asked for of a keyspace that is there must be what it has; `nil` takes what there is.
  ///
  /// - Throws: `.wrongPolicy`.
  func checkSame(_ asked: KeyspaceQuorums, of keyspace: String) throws(DatabaseError) {
    for (name, count, asked) in [("read", read, asked.read), ("write", write, asked.write)] {
      guard let asked, asked != count else { continue }
      let made = count.map { "of \($0)" } ?? "that is a majority"
      throw DatabaseError(
        .wrongPolicy,
        "the keyspace `\(keyspace)` was created with a \(name) quorum \(made), not of \(asked)")
    }
  }

  func write(to writer: inout FieldWriter) {
    writer.write(count: read ?? 0)
    writer.write(count: write ?? 0)
  }

  init(from reader: inout FieldReader) throws(DatabaseError) {
    read = try Self.count(from: &reader)
    write = try Self.count(from: &reader)
  }

  private static func count(from reader: inout FieldReader) throws(DatabaseError) -> Int? {
    let count = try reader.readVarint()
    guard count <= 1_000 else { throw reader.damaged("a quorum of \(count)") }
    return count == 0 ? nil : Int(count)
  }
}

extension KeyspaceQuorums: CustomStringConvertible {
  /// What operators are shown: of those that were chosen, each behind a comma; nothing where none was.
  package var description: String {
    (read.map { ", read quorum \($0)" } ?? "") + (write.map { ", write quorum \($0)" } ?? "")
  }
}
