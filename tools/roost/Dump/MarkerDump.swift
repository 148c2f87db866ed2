import RoostEnvironment
import RoostStorage
import SystemPackage

/// Explains the marker and the lock file.
struct MarkerDump {
  private let path: String
  private let bytes: [UInt8]
  private let printer: DumpPrinter
  private static let longest = 4096

  init(_ fileSystem: any FileSystem, _ path: FilePath, _ printer: DumpPrinter) throws {
    self.path = path.string
    self.printer = printer
    bytes = try fileSystem.open(path, .read).bytes(at: 0, Self.longest + 1)
  }

  @discardableResult
  func run() throws -> Marker? {
    do throws(StoreError) {
      guard bytes.count <= Self.longest else {
        throw StoreError(.corruption, "the marker has more than \(Self.longest) bytes", file: path)
      }
      let marker = try Marker.decode(bytes, file: path)
      try? printer.item("marker", "marker \(path): \(bytes.count) bytes") {
        $0.member("file", path)
        $0.member("bytes", bytes.count)
        $0.member("formatVersion", Marker.formatVersion)
        $0.member("identity", marker.identity.description)
        $0.member("manifestNumber", marker.manifestNumber)
      }
      try? printer.text("  store     \(marker.identity), format \(Marker.formatVersion)")
      try? printer.text(
        "  manifest  \(marker.manifestNumber), \(FileNames.manifest(marker.manifestNumber))")
      return marker
    } catch {
      try printer.text("marker \(path): \(bytes.count) bytes")
      for line in bytes.prefix(512).split(separator: UInt8(ascii: "\n")) {
        try printer.text("  " + printer.short(Array(line)))
      }
      try printer.problem(error)
      return nil
    }
  }

  static func runLock(_ fileSystem: any FileSystem, _ path: FilePath, _ printer: DumpPrinter) throws
  {
    let bytes = try fileSystem.open(path, .read).bytes(at: 0, 64)
    let holder = String(decoding: bytes.prefix { $0 >= 0x30 && $0 <= 0x39 }, as: UTF8.self)
    let text =
      holder.isEmpty
      ? "held by nobody when it was last let go"
      : "process \(holder) has it, or ended without closing the store"
    try printer.item("lock", "lock \(path.string): \(text)") {
      $0.member("file", path.string)
      if let number = Int(holder) { $0.member("holder", number) }
    }
  }
}
