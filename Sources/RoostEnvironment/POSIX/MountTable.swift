import Glibc
import SystemPackage

/// What the kernel says is mounted: `/proc/self/mountinfo`, see proc_pid_mountinfo(5).
///
///     36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/root rw
///     |  |  |    |     |    |          |        | |
///     id |  |    root  at   options    |        | file system type
///        |  device, major:minor        |        end of the optional fields
///        parent                        any number of optional fields
struct MountTable {
  private var types: [String: String] = [:]

  init(_ text: String) {
    for line in text.split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count > 6, let dash = fields[6...].firstIndex(of: "-"), dash + 1 < fields.count
      else { continue }
      types[String(fields[2])] = String(fields[dash + 1])
    }
  }

  static func current() throws(FileSystemError) -> MountTable {
    let path: FilePath = "/proc/self/mountinfo"
    let file = POSIXFile(path, descriptor: try openDescriptor(path, O_RDONLY))
    // The size of a file in /proc is unknown until it ends.
    var text = [UInt8](repeating: 0, count: 65_536)
    while true {
      var buffer = text.mutableSpan
      var bytes = unsafe buffer.mutableBytes
      let count = try file.read(into: &bytes, at: 0)
      if count < text.count { return MountTable(String(decoding: text[..<count], as: UTF8.self)) }
      text = [UInt8](repeating: 0, count: text.count * 2)
    }
  }

  /// The type of the file system on a device, numbered as `stat` does.
  func fileSystemType(device: UInt64) -> String? {
    // The C library's major() and minor(), which are macros.
    let major = (device >> 8) & 0xFFF | (device >> 32) & ~0xFFF
    let minor = device & 0xFF | (device >> 12) & ~0xFF
    return types["\(major):\(minor)"]
  }
}
