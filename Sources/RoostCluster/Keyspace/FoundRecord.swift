package import RoostCausality

/// What a read found under a key, without what has expired. Most records are one value: those are
/// not built whole unless someone asks. A plain value.
package enum FoundRecord: Sendable {
  /// The key was never written.
  case absent
  case sole(SoleRecord)
  case whole(Record)

  package var record: Record? {
    switch self {
    case .absent: nil
    case .sole(let sole): sole.record
    case .whole(let record): record
    }
  }

  package var context: VersionVector {
    switch self {
    case .absent: VersionVector()
    case .sole(let sole): sole.context
    case .whole(let record): record.context
    }
  }
}
