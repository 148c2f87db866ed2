/// A manifest's records, applied one by one, for people to look at.
///
/// A value. A record that makes no sense, as far as it does not, leaves the contents as they were.
package struct ManifestInspection: Sendable {
  package struct Edit: Sendable {
    /// Where the edit begins in the record.
    package var offset: Int
    package var edit: VersionEdit
  }

  /// What the records so far add up to.
  package private(set) var contents = StoreContents()

  package init() {}

  /// Reads a record and applies its edits.
  ///
  /// - Returns: the edits, and what is wrong with the record, if anything is.
  package mutating func apply(_ record: [UInt8]) -> (edits: [Edit], problem: String?) {
    guard let decoded = record.withByteView({ VersionEdit.decode($0) }) else {
      return ([], "the record is not a list of edits")
    }
    var edits: [Edit] = []
    var problem: String?
    var encoding = ByteBuffer()
    for edit in decoded {
      // Each edit has one encoding, so what comes before says where it begins.
      edits.append(Edit(offset: encoding.count, edit: edit))
      edit.encode(into: &encoding)
      if let contradiction = contents.apply(edit), problem == nil { problem = contradiction }
    }
    return (edits, problem)
  }
}
