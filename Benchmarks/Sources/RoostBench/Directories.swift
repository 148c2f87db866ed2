import Glibc

/// The names in a directory, without `.` and `..`.
func entries(_ directory: String) -> [String] {
  guard let stream = opendir(directory) else { return [] }
  defer { closedir(stream) }
  var names: [String] = []
  while let entry = readdir(stream) {
    let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
      String(decoding: bytes.prefix(while: { $0 != 0 }), as: UTF8.self)
    }
    if name != "." && name != ".." { names.append(name) }
  }
  return names
}

/// Bytes of the files in a directory: written and kept. What a file only reserves past its end is not
/// counted, nor are holes.
func bytesOnDisk(_ directory: String) -> UInt64 {
  entries(directory).reduce(0) { sum, name in
    var status = stat()
    guard lstat("\(directory)/\(name)", &status) == 0 else { return sum }
    return sum + UInt64(min(status.st_size, status.st_blocks * 512))
  }
}

func makeDirectory(_ path: String) throws {
  guard mkdir(path, 0o755) == 0 || errno == EEXIST else {
    throw BenchmarkError("could not make the directory \(path): \(String(cString: strerror(errno)))")
  }
}

func removeDirectory(_ path: String) {
  for name in entries(path) {
    if unlink("\(path)/\(name)") != 0 { removeDirectory("\(path)/\(name)") }
  }
  rmdir(path)
}

/// Copies the files of one directory to another, new one.
func copyDirectory(_ source: String, to target: String) throws {
  try makeDirectory(target)
  for name in entries(source) { try copyFile("\(source)/\(name)", to: "\(target)/\(name)") }
}

/// Copies a file to a new one.
func copyFile(_ source: String, to target: String) throws {
  let from = open(source, O_RDONLY)
  let to = open(target, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
  defer {
    close(from)
    close(to)
  }
  guard from >= 0, to >= 0 else {
    throw BenchmarkError("could not copy \(source): \(String(cString: strerror(errno)))")
  }
  while true {
    let copied = sendfile(to, from, nil, 1 << 30)
    if copied == 0 { return }
    guard copied > 0 else {
      throw BenchmarkError("could not copy \(source): \(String(cString: strerror(errno)))")
    }
  }
}

/// Lets the kernel forget the pages of the files in a directory, so that reads go to the disk.
///
/// - Returns: the share of pages that stayed all the same.
func dropPageCache(_ directory: String) -> Double {
  var resident = 0
  var all = 0
  for name in entries(directory) {
    let file = open("\(directory)/\(name)", O_RDONLY)
    guard file >= 0 else { continue }
    defer { close(file) }
    fsync(file)
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)
    var status = stat()
    guard fstat(file, &status) == 0, status.st_size > 0 else { continue }
    let count = Int(status.st_size)
    guard let mapping = mmap(nil, count, PROT_READ, MAP_SHARED, file, 0), mapping != MAP_FAILED else {
      continue
    }
    var pages = [UInt8](repeating: 0, count: (count + 4095) / 4096)
    mincore(mapping, count, &pages)
    munmap(mapping, count)
    all += pages.count
    resident += pages.count { $0 & 1 != 0 }
  }
  return all == 0 ? 0 : Double(resident) / Double(all)
}

/// Microseconds of a bare `fdatasync`: after appending 128 bytes, and after writing them over what is there.
func syncProbe(_ directory: String) throws -> (append: Double, overwrite: Double) {
  let path = "\(directory)/probe"
  let file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o644)
  guard file >= 0 else { throw BenchmarkError("could not make \(path)") }
  defer {
    close(file)
    unlink(path)
  }
  let record = [UInt8](repeating: 7, count: 128)
  let rounds = 1000
  func measure() throws -> Double {
    let began = monotonicNanoseconds()
    for i in 0..<rounds {
      guard pwrite(file, record, record.count, off_t(i * record.count)) == record.count,
        fdatasync(file) == 0
      else { throw BenchmarkError("could not write to \(path): \(String(cString: strerror(errno)))") }
    }
    return Double(monotonicNanoseconds() - began) / 1e3 / Double(rounds)
  }
  return (try measure(), try measure())
}
