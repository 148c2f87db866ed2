import Testing

@testable import RoostStorage

// Budget: 1 s
@Suite struct XXH64Tests {
  /// The bytes that xxHash's own self-test hashes.
  static let bytes: [UInt8] = {
    var state: UInt64 = 2_654_435_761
    return (0..<2400).map { _ in
      defer { state = state &* 11_400_714_785_074_694_797 }
      return UInt8(state >> 56)
    }
  }()

  /// Lengths 0, 1, 4, 14 and 222 are in xxHash's self-test; all are from python-xxhash, which wraps
  /// the reference implementation.
  @Test(
    arguments: [
      (0, 0xEF46_DB37_51D8_E999, 0xAC75_FDA2_929B_17EF),
      (1, 0xE934_A84A_DB05_2768, 0x5014_6076_43A9_B4C3),
      (4, 0x9136_A0DC_A574_57EE, 0xCAAB_286B_D8E9_FDB5),
      (8, 0xCDBC_F538_E71D_1348, 0xFE0C_047A_5353_CDAC),
      (14, 0x8282_DCC4_994E_35C8, 0xC3BD_6BF6_3DEB_6DF0),
      (31, 0x299B_39A2_90E6_D783, 0xDA67_3D5F_EB5C_1D79),
      (32, 0x18B2_1649_2BB4_4B70, 0xB3F3_3BDF_93AD_E409),
      (33, 0x55C8_DC3E_578F_5B59, 0xE92C_292F_64BC_3071),
      (63, 0xA9EF_BE0F_A0F3_F4E7, 0x6C91_1FAD_B05B_6FC2),
      (222, 0xB641_AE8C_B691_C174, 0x20CB_8AB7_AE10_C14A),
      (2367, 0xA824_18DD_EC0E_A581, 0xA36A_93C1_8052_673A),
    ] as [(Int, UInt64, UInt64)])
  func givesThePublishedHashes(_ length: Int, _ plain: UInt64, _ seeded: UInt64) {
    Array(Self.bytes[..<length]).withByteView {
      #expect(XXH64.hash($0) == plain)
      #expect(XXH64.hash($0, seed: 2_654_435_761) == seeded)
      #expect(Checksum.xxh64($0.span) == plain)
      #expect(Checksum.xxh64($0.span, seed: 2_654_435_761) == seeded)
    }
  }

  @Test func hashesTextAsOthersDo() {
    #expect([UInt8]("abc".utf8).withByteView { XXH64.hash($0) } == 0x44BC_2CF5_AD77_0999)
    #expect(
      [UInt8]("Nobody inspects the spammish repetition".utf8).withByteView { XXH64.hash($0) }
        == 0xFBCE_A83C_8A37_8BF1)
  }

  /// Every length from 8 to 520, each hash feeding the next; the last one is the reference's.
  @Test func agreesAtEveryLength() {
    var hash: UInt64 = 0
    for length in 0...512 {
      var buffer = ByteBuffer()
      buffer.append(littleEndian: hash)
      buffer.append(Array(Self.bytes[..<length]))
      hash = XXH64.hash(buffer.view, seed: UInt64(length) &* 11_400_714_785_074_694_797)
    }
    #expect(hash == 0x3D71_0652_6E04_6280)
  }

  @Test func doesNotDependOnAlignment() {
    for length in [3, 16, 40, 100] {
      let expected = Array(Self.bytes[..<length]).withByteView { XXH64.hash($0, seed: 7) }
      for shift in 0..<8 {
        let shifted = [UInt8](repeating: 0, count: shift) + Self.bytes[..<length]
        #expect(shifted.withByteView { XXH64.hash($0.dropFirst(shift), seed: 7) } == expected)
      }
    }
  }
}
