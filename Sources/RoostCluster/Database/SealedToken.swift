import RoostCausality
import RoostStorage

// A sealed token:
//
//   token := kind u8 | version u8 | payload | checksum u64 little-endian, XXH64 of all before it, seed 0
//
// Contexts, resume tokens and exports are handed to programs that keep them, send them around and
// give them back; the seal finds what was cut off or changed on the way.

/// Bytes that users keep and hand back.
package enum SealedToken {
  package enum Kind: UInt8 {
    case context = 0x43  // C
    case scan = 0x53  // S
    case changes = 0x46  // F
    case export = 0x45  // E
    case index = 0x49  // I
    case session = 0x52  // R: what reads must show
  }

  static let version: UInt8 = 1

  package static func seal(_ kind: Kind, _ payload: [UInt8]) -> [UInt8] {
    var bytes = [kind.rawValue, version]
    bytes.reserveCapacity(payload.count + 10)
    bytes += payload
    let checksum = Checksum.xxh64(bytes)
    for shift in stride(from: 0, to: 64, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: checksum >> UInt64(shift)))
    }
    return bytes
  }

  /// - Returns: the payload.
  /// - Throws: `.damagedToken` for what is not a whole token of that kind, `.newerFormat`.
  package static func open(_ kind: Kind, _ bytes: [UInt8]) throws(DatabaseError) -> [UInt8] {
    guard bytes.count >= 10 else {
      throw DatabaseError(.damagedToken, "a \(kind) token of \(bytes.count) bytes is cut off")
    }
    let body = Array(bytes.dropLast(8))
    var checksum: UInt64 = 0
    for byte in bytes.suffix(8).reversed() { checksum = checksum << 8 | UInt64(byte) }
    guard checksum == Checksum.xxh64(body) else {
      throw DatabaseError(.damagedToken, "a \(kind) token's checksum does not match")
    }
    guard body[0] == kind.rawValue else {
      throw DatabaseError(.damagedToken, "the token is no \(kind) token")
    }
    guard body[1] <= version else {
      throw DatabaseError(
        .newerFormat, "a \(kind) token of version \(body[1]); this Roost reads up to \(version)")
    }
    return Array(body.dropFirst(2))
  }
}
