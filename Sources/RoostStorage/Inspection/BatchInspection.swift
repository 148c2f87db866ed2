/// The payload of a write-ahead log's record, taken apart for people to look at: a batch of
/// operations.
///
/// A value. Whatever the bytes are, it holds the operations before the first damage, and the
/// damage.
package struct BatchInspection: Sendable {
  package enum Kind: String, Sendable {
    case put
    case delete
    case deleteRange
    case deleteLate
  }

  package struct Operation: Sendable {
    package var kind: Kind
    package var tree: UInt64
    package var sequence: UInt64
    /// Where the operation begins in the payload.
    package var offset: Int
    package var key: [UInt8]
    /// A put's value; a range deletion's end key.
    package var value: [UInt8]
  }

  package private(set) var baseSequence: UInt64 = 0
  /// How many operations the batch says it has.
  package private(set) var count = 0
  package private(set) var operations: [Operation] = []
  package private(set) var problem: StoreError?

  package init(_ payload: [UInt8]) {
    payload.withByteView { read($0) }
  }

  private mutating func read(_ payload: ByteView) {
    do {
      var decoder = try WriteBatchDecoder(payload)
      baseSequence = decoder.baseSequence
      count = decoder.count
      var offset = WriteBatchEncoder.headerBytes
      while let operation = try decoder.next() {
        operations.append(
          Operation(
            kind: Self.kind(operation.kind), tree: operation.treeID,
            sequence: baseSequence + UInt64(operations.count), offset: offset,
            key: operation.key.array, value: operation.value.array))
        // Operations follow each other without gaps, and each ends with its last field.
        let last = operation.kind.hasSecond ? operation.value : operation.key
        offset = unsafe last.base - payload.base + last.count
      }
    } catch {
      problem = error
    }
  }

  private static func kind(_ kind: BatchOperationKind) -> Kind {
    switch kind {
    case .put: .put
    case .delete: .delete
    case .deleteRange: .deleteRange
    case .deleteLate: .deleteLate
    }
  }
}
