import Foundation

/// Hosts of a network that nobody else sees: a network namespace each, joined by a switch in one more.
///
/// The namespaces live as long as processes that wait for the end of a pipe whose other end this has: so all
/// of it is gone once this is released or the test's process has ended, and nothing of the machine's own
/// network is touched. Needs root, `unshare`, `nsenter` and `ip`. Thread-safe.
final class NetworkHosts: @unchecked Sendable {
  struct Host: Sendable {
    fileprivate var process: String
    var address: String

    /// What stands before the words of a command that is to run there.
    var prefix: [String] { ["nsenter", "--net=/proc/\(process)/ns/net"] }
  }

  struct Failed: Error, CustomStringConvertible {
    var description: String
  }

  /// Whether this machine allows it.
  static let areAllowed: Bool = (try? NetworkHosts(1)) != nil

  // Says the hosts' processes and its own, a line each. The hosts are told apart from the switch by their
  // namespaces: until then a process is not where it is going to be.
  private static let script = """
    set -e
    ip link set lo up
    ip link add switch type bridge
    ip link set switch up
    exec 3<&0
    for ((number = 1; number <= $1; number += 1)); do
      unshare --net cat <&3 >/dev/null &
      host=$!
      for ((look = 0; look < 6000; look += 1)); do
        space=$(readlink /proc/$host/ns/net)
        if [ "$space" != "$(readlink /proc/$$/ns/net)" ]; then break; fi
        sleep 0.01
      done
      test "$space" != "$(readlink /proc/$$/ns/net)"
      ip link add port$number type veth peer name eth0 netns $host
      ip link set port$number master switch up
      inside="nsenter --net=/proc/$host/ns/net ip"
      $inside link set lo up
      $inside address add 10.99.0.$number/24 dev eth0
      $inside link set eth0 up
      echo $host
    done
    echo $$
    exec cat >/dev/null
    """

  private let input = Pipe()
  private let process = Process()
  private let hosts: [Host]
  private let switchProcess: String

  /// - Throws: where the machine does not allow it.
  init(_ count: Int) throws {
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments = [
      "-c", #"PATH=$PATH:/usr/sbin:/sbin exec unshare --net bash -c "$@""#, "bash", Self.script, "bash",
      "\(count)",
    ]
    let output = Pipe()
    process.standardInput = input
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    try process.run()
    // It says nothing more once all is there, or failed.
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    let processes = text.split(separator: "\n").map(String.init)
    guard processes.count == count + 1 else {
      try? input.fileHandleForWriting.close()
      throw Failed(description: "no network of \(count) hosts could be made")
    }
    hosts = processes.dropLast().enumerated().map { index, process in
      Host(process: process, address: "10.99.0.\(index + 1)")
    }
    switchProcess = processes[count]
  }

  deinit { try? input.fileHandleForWriting.close() }

  subscript(_ index: Int) -> Host { hosts[index] }

  /// Cuts a host off, or joins it again: nothing goes in or out, and nobody is told.
  func plug(_ index: Int, _ isIn: Bool, _ roost: Roost) throws {
    let inSwitch = ["nsenter", "--net=/proc/\(switchProcess)/ns/net"]
    try run(inSwitch, "link set port\(index + 1) \(isIn ? "up" : "down")", roost)
  }

  /// Has a host lose all that it sends to another, which it is told, or takes that back.
  func refuse(_ from: Int, to other: Int, _ isRefused: Bool, _ roost: Roost) throws {
    let verb = isRefused ? "add" : "delete"
    try run(hosts[from].prefix, "route \(verb) blackhole \(hosts[other].address)/32", roost)
  }

  /// Has a host send what is for another to nobody, or takes that back: what the other sends still arrives.
  func mislead(_ from: Int, to other: Int, _ isMisled: Bool, _ roost: Roost) throws {
    let entry = "\(hosts[other].address) dev eth0"
    let words =
      isMisled ? "replace \(entry) lladdr 02:00:00:00:00:99 nud permanent" : "delete \(entry)"
    try run(hosts[from].prefix, "neighbour \(words)", roost)
  }

  private func run(_ prefix: [String], _ words: String, _ roost: Roost) throws {
    let command = (prefix + ["ip", words]).joined(separator: " ")
    let outcome = try roost.shell("PATH=$PATH:/usr/sbin:/sbin; " + command)
    guard outcome.status == 0 else { throw Failed(description: "`ip \(words)`: \(outcome.errors)") }
  }
}
