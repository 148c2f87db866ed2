import RoostCausality
import RoostCluster

// hello := oldest version varint | newest version varint | node u64
//        | database u8 (0 none yet, 1 known) | database low u64, high u64, of a known one only
//        | physical clock u64 | largest body varint | window varint
//        | cluster lengthPrefixed | address lengthPrefixed
//
// Behind the address there may be more, from later versions: a reader passes over it.

/// How the sides of a connection introduce themselves: the one that dialled first, then the other.
struct Hello: Hashable, Sendable {
  /// Versions of the protocol that the sender speaks.
  var versions: ClosedRange<UInt64> = Hello.spoken
  var node: NodeID
  /// `nil` where it is yet to be told.
  var database: DatabaseID?
  /// Milliseconds since 1970.
  var physicalMilliseconds: UInt64
  /// The longest body that the sender takes.
  var largestBody: Int
  /// How many messages from the other side it takes in hand at a time.
  var window: Int
  /// 1 to 255 bytes.
  var cluster: String
  /// Where the sender listens, for others; empty where it does not. Up to 300 bytes.
  var address: String

  static let spoken: ClosedRange<UInt64> = 1...1
  /// Limits on what a side may ask of the other.
  static let bodies = 1_024...(1 << 30)
  static let windows = 1...65_536

  var encoded: [UInt8] {
    var writer = FieldWriter()
    writer.write(varint: versions.lowerBound)
    writer.write(varint: versions.upperBound)
    writer.write(fixed: node.rawValue)
    writer.write(byte: database == nil ? 0 : 1)
    if let database {
      writer.write(fixed: database.low)
      writer.write(fixed: database.high)
    }
    writer.write(fixed: physicalMilliseconds)
    writer.write(count: largestBody)
    writer.write(count: window)
    writer.write(text: cluster)
    writer.write(text: address)
    return writer.bytes
  }

  /// - Throws: `.rubbish`, and `.wrongVersion` where the versions leave no other field readable.
  init(decoding body: [UInt8]) throws(TransportError) {
    do throws(DatabaseError) {
      var reader = FieldReader(body, "a hello")
      let oldest = try reader.readVarint()
      let newest = try reader.readVarint()
      guard oldest >= 1, oldest <= newest else { throw reader.damaged("versions \(oldest) to \(newest)") }
      versions = oldest...newest
      node = NodeID(rawValue: try reader.readFixed())
      guard node.rawValue != 0 else { throw reader.damaged("no node") }
      switch try reader.readByte() {
      case 0: database = nil
      case 1:
        let low = try reader.readFixed()
        database = DatabaseID(high: try reader.readFixed(), low: low)
      case let other: throw reader.damaged("a database of form \(other)")
      }
      physicalMilliseconds = try reader.readFixed()
      guard let body = Int(exactly: try reader.readVarint()), Hello.bodies.contains(body) else {
        throw reader.damaged("a limit of bodies out of bounds")
      }
      largestBody = body
      guard let window = Int(exactly: try reader.readVarint()), Hello.windows.contains(window) else {
        throw reader.damaged("a window out of bounds")
      }
      self.window = window
      cluster = try reader.readText()
      address = try reader.readText()
      guard (1...255).contains(cluster.utf8.count), address.utf8.count <= 300 else {
        throw reader.damaged("a name too long, or none")
      }
    } catch {
      throw TransportError(.rubbish, error.message)
    }
  }

  init(
    node: NodeID, database: DatabaseID?, physicalMilliseconds: UInt64, largestBody: Int, window: Int,
    cluster: String, address: String
  ) {
    self.node = node
    self.database = database
    self.physicalMilliseconds = physicalMilliseconds
    self.largestBody = largestBody
    self.window = window
    self.cluster = cluster
    self.address = address
  }
}

extension Hello {
  /// Whether a side that said `self` takes up with one that said `other`.
  ///
  /// - Parameters:
  ///   - expected: the node that was dialled, where this side dialled one and not an address alone.
  ///   - clockBound: the greatest difference between physical clocks, in milliseconds; `nil` for any.
  ///   - age: how old the other's reading may be, in milliseconds.
  /// - Returns: the version that both speak.
  /// - Throws: `.wrongVersion`, `.wrongCluster`, `.wrongDatabase`, `.wrongNode` or `.clockOutOfBound`. The
  ///   message names both sides' values: it is shown on both sides.
  func accept(
    _ other: Hello, expecting expected: NodeID?, clockBound: UInt64?, age: UInt64
  ) throws(TransportError) -> UInt64 {
    let version = min(versions.upperBound, other.versions.upperBound)
    guard version >= versions.lowerBound, version >= other.versions.lowerBound else {
      throw TransportError(
        .wrongVersion,
        "\(node) speaks versions \(versions) of the protocol, \(other.node) speaks \(other.versions)")
    }
    guard cluster == other.cluster else {
      throw TransportError(
        .wrongCluster, "\(node) is of cluster `\(cluster)`, \(other.node) of `\(other.cluster)`")
    }
    if let database, let others = other.database, database != others {
      throw TransportError(.wrongDatabase, "\(node) is of database \(database), \(other.node) of \(others)")
    }
    if let expected, expected != other.node {
      throw TransportError(.wrongNode, "\(expected) was dialled, and \(other.node) answered")
    }
    guard other.node != node else {
      throw TransportError(.wrongNode, "\(node) reached a node of its own number: itself, or a copy")
    }
    if let clockBound {
      let (mine, theirs) = (physicalMilliseconds, other.physicalMilliseconds)
      let difference = mine > theirs ? mine - theirs : theirs - mine
      // The other's reading is from before: it may be behind by as much.
      let bound = clockBound.addingReportingOverflow(mine > theirs ? age : 0)
      if !bound.overflow, difference > bound.partialValue {
        throw TransportError(
          .clockOutOfBound,
          "the clocks of \(other.node) and \(node) differ by \(difference) ms; the bound is \(clockBound) ms"
        )
      }
    }
    return version
  }
}
