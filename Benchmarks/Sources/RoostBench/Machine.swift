import Glibc

/// What the process has used so far, as the kernel counts it.
struct Usage {
  var nanoseconds: UInt64
  var cpuSeconds: Double
  var bytesWritten: UInt64

  static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }

  static func now() -> Usage {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return Usage(
      nanoseconds: monotonicNanoseconds(),
      cpuSeconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
      bytesWritten: field("write_bytes:", of: "/proc/self/io") ?? 0)
  }
}

func monotonicNanoseconds() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// The peak resident memory since the last ``forgetPeak()``.
func peakResidentBytes() -> UInt64 { (field("VmHWM:", of: "/proc/self/status") ?? 0) << 10 }

/// Lets the kernel count peak memory anew, so that a workload does not inherit an earlier one's.
func forgetPeak() {
  let file = open("/proc/self/clear_refs", O_WRONLY)
  guard file >= 0 else { return }
  _ = write(file, "5", 1)
  close(file)
}

/// Time the hypervisor gave to other machines, time in use by any process, and all time, in the kernel's
/// ticks over all cores.
func machineTicks() -> (stolen: UInt64, busy: UInt64, all: UInt64) {
  let line = contents("/proc/stat").split(separator: "\n").first ?? ""
  let ticks = line.split(separator: " ").dropFirst().prefix(8).compactMap { UInt64($0) }
  guard ticks.count > 7 else { return (0, 0, 0) }
  let (idle, waiting, stolen) = (ticks[3], ticks[4], ticks[7])
  let all = ticks.reduce(0, +)
  return (stolen, all - idle - waiting - stolen, all)
}

/// The first number after `name` in one of the kernel's text files.
private func field(_ name: String, of path: String) -> UInt64? {
  for line in contents(path).split(separator: "\n") where line.hasPrefix(name) {
    return line.dropFirst(name.count).split(whereSeparator: { $0 == " " || $0 == "\t" })
      .first.flatMap { UInt64($0) }
  }
  return nil
}

/// The text of a small file, empty where it cannot be read.
func contents(_ path: String) -> String {
  let file = open(path, O_RDONLY)
  guard file >= 0 else { return "" }
  defer { close(file) }
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = read(file, &chunk, chunk.count)
    if count <= 0 { break }
    bytes += chunk[..<count]
  }
  return String(decoding: bytes, as: UTF8.self)
}

/// What another process has used so far, as the kernel counts it; nothing, where it is gone or not ours.
func processUsage(_ process: pid_t) -> (cpuSeconds: Double, bytesWritten: UInt64) {
  // The name in parentheses may hold spaces.
  let fields = contents("/proc/\(process)/stat").split(separator: ")").last?.split(separator: " ") ?? []
  guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else {
    return (0, 0)
  }
  let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
  return ((user + system) / ticks, field("write_bytes:", of: "/proc/\(process)/io") ?? 0)
}
