import Foundation
import SystemPackage
import TestSupport
import Testing

@testable import RoostEnvironment

/// What only the real file system does. Budget: 3 s
@Suite struct POSIXFileSystemTests {
  let fs = POSIXFileSystem()

  @Test func errorsNameTheCallThePathAndTheReason() throws {
    let path: FilePath = "/no/such/file"
    let error = #expect(throws: FileSystemError.self) { _ = try fs.open(path, .read) }
    #expect(error?.operation == "open" && error?.path == path.string)
    #expect(error?.errorNumber == ENOENT && error?.message == "No such file or directory")
  }

  @Test func fullDisk() throws {
    // Every write to this device fails for want of space.
    let file = try fs.open("/dev/full", .readWrite)
    #expect(code { try file.write([1], at: 0) } == .noSpace)
  }

  @Test(.enabled(if: getuid() != 0)) func permissions() throws {
    let directory = try TemporaryDirectory()
    try fs.writeWhole(directory.appending("a"), [1])
    unsafe chmod(directory.appending("a").string, 0)
    #expect(code { _ = try fs.open(directory.appending("a"), .read) } == .permissionDenied)
  }

  @Test func modesAndInheritance() throws {
    let directory = try TemporaryDirectory()
    let path = directory.appending("a")
    let mask = umask(0)
    umask(mask)
    let file = try fs.open(path, .createNew)
    var status = stat()
    #expect(unsafe stat(path.string, &status) == 0 && status.st_mode & 0o777 == 0o644 & ~mask)
    try fs.createDirectory(directory.appending("d"))
    #expect(unsafe stat(directory.appending("d").string, &status) == 0)
    #expect(status.st_mode & 0o777 == 0o755 & ~mask)
    // A program that we start sees none of our files.
    let output = try run("/bin/ls", ["-l", "/proc/self/fd"])
    #expect(!output.contains(path.string))
    file.close()
  }

  @Test func closingLetsGoOfTheFileAtOnce() throws {
    let directory = try TemporaryDirectory()
    let path = directory.appending("a")
    let file = try fs.open(path, .createNew)
    func isOpen() throws -> Bool {
      try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").contains {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/" + $0))
          == path.string
      }
    }
    #expect(try isOpen())
    file.close()
    #expect(try !isOpen())
    withExtendedLifetime(file) {}
  }

  @Test func closingUnderReadersNeverMisleadsThem() throws {
    let directory = try TemporaryDirectory()
    let other = directory.appending("other")
    try fs.writeWhole(other, [UInt8](repeating: 2, count: 64))
    try fs.writeWhole(directory.appending("a"), [UInt8](repeating: 1, count: 64))
    let wrong = Counter()
    for _ in 0..<50 {
      let file = try fs.open(directory.appending("a"), .read)
      runThreads(3) { thread in
        if thread == 0 {
          file.close()
          // Would take over the number if it were free.
          _ = try? fs.readWhole(other)
        } else {
          for _ in 0..<20 {
            do {
              if try file.read(0, 64) != [UInt8](repeating: 1, count: 64) { wrong.add() }
            } catch {
              if (error as? FileSystemError)?.code != .closed { wrong.add() }
            }
          }
        }
      }
    }
    #expect(wrong.value == 0)
  }

  @Test func lockHeldByAnotherProcess() throws {
    let directory = try TemporaryDirectory()
    let path = directory.appending("LOCK")
    // Says its number once it has the lock, and keeps it until its input ends.
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/flock")
    process.arguments = [path.string, "/bin/sh", "-c", "echo $$ > \(path.string); echo ready; cat"]
    let (input, output) = (Pipe(), Pipe())
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    #expect(String(decoding: output.fileHandleForReading.availableData, as: UTF8.self) == "ready\n")
    let error = #expect(throws: FileSystemError.self) { _ = try fs.lock(path) }
    let written = try fs.readWhole(path).dropLast()
    #expect(error?.code == .locked)
    #expect(
      error?.holder != nil && error?.holder == Int32(String(decoding: written, as: UTF8.self)))
    try input.fileHandleForWriting.close()
    process.waitUntilExit()
    let lock = try fs.lock(path)
    #expect(try fs.readWhole(path) == Array("\(getpid())\n".utf8))
    lock.unlock()
  }

  @Test func mountTable() {
    let table = MountTable(
      """
      36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
      37 35 259:65537 / /x\\040y rw - xfs /dev/x rw
      damaged
      38 35 1:2 / / rw -
      """)
    #expect(table.fileSystemType(device: 98 << 8) == "ext3")
    // Twelve bits of the major number and eight of the minor stand lowest; the others above.
    #expect(table.fileSystemType(device: 259 << 8 | 1 | (65536 << 12)) == "xfs")
    #expect(table.fileSystemType(device: 1 << 8 | 2) == nil)
  }

  @Test func overwritesInPlace() throws {
    let directory = try TemporaryDirectory()
    let type = try run("/usr/bin/stat", ["-f", "-c", "%T", directory.path.string])
    #expect(fs.overwritesInPlace(directory.path) == (type.hasPrefix("ext") || type.hasPrefix("tmpfs")))
    #expect(!fs.overwritesInPlace("/proc"))
    #expect(!fs.overwritesInPlace("/no/such/place"))
  }

  @Test func openFileLimitIsRaised() {
    let limit = fs.openFileLimit
    var now = rlimit()
    #expect(unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &now) == 0)
    #expect(Int(clamping: now.rlim_cur) == limit && now.rlim_cur == now.rlim_max)
  }

  private func run(_ path: String, _ arguments: [String]) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return String(decoding: data, as: UTF8.self)
  }
}
