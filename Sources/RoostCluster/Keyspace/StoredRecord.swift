package import RoostCausality
import RoostStorage

// stored := change number u64 little-endian | record (see RoostCausality/Record)

/// A record as it stands in a store: with the number of the change that brought it there.
package struct StoredRecord {
  package static let headerBytes = 8

  /// A timestamp of the store's clock, above all earlier ones of this store. The feed's entry of the
  /// record has the same.
  package var changeNumber: UInt64
  package var record: Record

  package init(changeNumber: UInt64, record: Record) {
    self.changeNumber = changeNumber
    self.record = record
  }

  package init(decoding bytes: RawSpan) throws(DatabaseError) {
    guard bytes.byteCount > Self.headerBytes else {
      throw DatabaseError(.corruption, "a stored record of \(bytes.byteCount) bytes is cut off")
    }
    changeNumber = Self.changeNumber(of: bytes)
    do throws(CausalityError) {
      record = try Record(decoding: bytes.extracting(droppingFirst: Self.headerBytes))
    } catch { throw DatabaseError(error) }
  }

  /// The change number of a stored record that is longer than its header.
  @inline(__always)
  static func changeNumber(of bytes: RawSpan) -> UInt64 {
    precondition(bytes.byteCount >= headerBytes)
    return unsafe UInt64(
      littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt64.self))
  }

  static func encode(_ changeNumber: UInt64, _ record: Record, into bytes: inout [UInt8]) {
    bytes.removeAll(keepingCapacity: true)
    bytes.append(integer: changeNumber.littleEndian)
    record.encode(into: &bytes)
  }
}

extension DatabaseError {
  /// What the pure values found wrong.
  package init(_ error: CausalityError) {
    let code: Code =
      switch error.code {
      case .newerFormat: .newerFormat
      case .overflow: .counterOverflow
      case .tooManyOperations: .busy
      default: .corruption
      }
    self.init(code, "\(error)")
  }

  package init(_ error: RingError) {
    let code: Code =
      switch error.code {
      case .tooFewMembers: .tooManyReplicas
      case .damaged: .corruption
      case .newerFormat: .newerFormat
      default: .invalidMembers
      }
    self.init(code, "\(error)")
  }
}
