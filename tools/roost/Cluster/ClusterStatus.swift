import ArgumentParser
import RoostCluster
import RoostEnvironment
import RoostNetwork

/// `roost cluster status`: the cluster as one of its nodes sees it.
struct ClusterStatus: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Show a cluster as one of its nodes sees it: nodes, keyspaces, counters.",
    discussion: """
      Counters are that node's own, since it was started.

      EXAMPLES
        roost cluster status --connect 127.0.0.1:7421 --cluster music --plain
        roost cluster status --connect 127.0.0.1:7421 --cluster music --plain --json
      """)

  @OptionGroup var connection: ConnectOptions
  @Flag(help: "A JSON object.") var json = false

  func run() async throws {
    let status = try await connection.withClient { try await $0.status() }
    if json { return try Output.standard.line(StatusText.json(status)) }
    for line in StatusText.lines(status) { try Output.standard.line(line) }
  }
}

/// A node's status as text.
enum StatusText {
  static func lines(_ status: NodeStatus) -> [String] {
    var lines = [
      "cluster \(status.cluster), database \(status.database), epoch \(status.epoch)",
      summary(status), "",
    ]
    lines += table(
      [["node", "address", "zone", "weight", "partitions", "state"]]
        + status.members.map { member in
          // Its name is where it first listened, which may be another place by now.
          [
            "\(member.id)", member.address.isEmpty ? "-" : member.address,
            member.zone.isEmpty ? "-" : member.zone, "\(member.weight)", "\(member.partitions)",
            name(member.state) + (member.weight == 0 ? ", leaving" : ""),
          ]
        })
    let keyspaces = status.keyspaces.map { keyspace in
      let replicas = keyspace.replicas.map { ", " + Format.count($0, "replica") } ?? ""
      return "\(keyspace.name) (\(keyspace.kind)\(replicas)\(keyspace.quorums))"
    }.joined(separator: ", ")
    let counters = status.counters
    if status.change.isUnderWay { lines += ["", "change     \(ChangeText.short(status.change))"] }
    return lines + [
      "", "keyspaces  \(keyspaces.isEmpty ? "none" : keyspaces)",
      "hints      \(Format.count(counters.hints)) kept (\(Format.bytes(counters.hintBytes))), "
        + "\(Format.count(counters.hintsHandedOver)) handed over, "
        + "\(Format.count(counters.hintsRefused)) refused",
      "writes     \(Format.count(counters.writes)), of them \(Format.count(counters.indeterminateWrites)) "
        + "indeterminate",
      "reads      \(Format.count(counters.reads)), of them \(Format.count(counters.unavailableReads)) "
        + "unavailable; \(Format.count(counters.repairedByReads)) replicas repaired",
      "last pass  \(status.lastPass.map(line) ?? "none has ended")",
    ]
  }

  private static func line(_ pass: NodeStatus.RepairPass) -> String {
    let left = pass.report.notCompared > 0 ? "; \(notCompared(pass.report))" : ""
    let now = Environment.posix().time.wallClockNanoseconds / 1_000_000
    let age = Format.duration(nanoseconds: (now - min(pass.ended, now)) * 1_000_000)
    return "\(age) ago; \(Format.count(pass.report.mended)) replicas of keys mended\(left)"
  }

  /// What a comparison with the other replicas came to.
  static func lines(_ report: RepairReport) -> [String] {
    var lines = [
      "compared   \(Format.count(report.keys)) keys, "
        + "in \(Format.count(report.compared)) replicas of partitions",
      "differing  \(Format.count(report.differing)), of them \(Format.count(report.mended)) mended",
      "sent       \(Format.bytes(report.bytes)), both ways",
      "read       \(Format.count(report.scanned)) partitions whole, of the others the leaves that are kept",
    ]
    if report.wrongLeaves > 0 {
      lines.append("wrong      \(Format.count(report.wrongLeaves)) leaves kept here, which are mended")
    }
    return lines
  }

  static func notCompared(_ report: RepairReport) -> String {
    "\(Format.count(report.notCompared)) replicas of partitions were not compared: \(report.problem)"
  }

  /// `3 nodes, 256 partitions, 3 replicas`
  static func summary(_ status: NodeStatus) -> String {
    "\(Format.count(status.members.count, "node")), \(Format.count(status.partitionCount, "partition")), "
      + Format.count(status.replicas, "replica")
  }

  private static func name(_ state: NodeStatus.Member.State) -> String {
    switch state {
    case .this: "this node"
    case .reachable: "reachable"
    case .unreachable: "out of reach"
    }
  }

  /// Columns as wide as what is in them, two spaces apart.
  static func table(_ rows: [[String]]) -> [String] {
    var widths = [Int](repeating: 0, count: rows.first?.count ?? 0)
    for row in rows {
      for (column, text) in row.enumerated() { widths[column] = max(widths[column], text.count) }
    }
    return rows.map { row in
      let cells = row.enumerated().map { column, text in
        column == row.count - 1 ? text : Format.left(text, widths[column])
      }
      return cells.joined(separator: "  ")
    }
  }

  static func json(_ status: NodeStatus) -> String {
    var writer = JSONWriter()
    writer.beginObject()
    writer.member("cluster", status.cluster)
    writer.member("database", "\(status.database)")
    writer.member("epoch", status.epoch)
    writer.member("partitions", status.partitionCount)
    writer.member("replicas", status.replicas)
    writer.name("nodes")
    writer.beginArray()
    for member in status.members {
      writer.beginObject()
      writer.member("id", "\(member.id)")
      writer.member("name", member.name)
      writer.member("address", member.address)
      writer.member("zone", member.zone)
      writer.member("weight", member.weight)
      writer.member("partitions", member.partitions)
      writer.member("state", word(member.state))
      writer.endObject()
    }
    writer.endArray()
    writer.name("keyspaces")
    writer.beginArray()
    for keyspace in status.keyspaces {
      writer.beginObject()
      writer.member("name", keyspace.name)
      writer.member("policy", "\(keyspace.kind)")
      if let replicas = keyspace.replicas { writer.member("replicas", replicas) }
      if let read = keyspace.quorums.read { writer.member("readQuorum", read) }
      if let write = keyspace.quorums.write { writer.member("writeQuorum", write) }
      writer.endObject()
    }
    writer.endArray()
    writer.name("counters")
    write(status.counters, to: &writer)
    if let pass = status.lastPass {
      writer.name("lastPass")
      writer.beginObject()
      writer.member("ended", pass.ended)
      write(pass.report, to: &writer)
      writer.endObject()
    }
    writer.name("change")
    ChangeText.write(status.change, to: &writer)
    writer.endObject()
    return writer.text
  }

  static func json(_ report: RepairReport) -> String {
    var writer = JSONWriter()
    writer.beginObject()
    write(report, to: &writer)
    writer.endObject()
    return writer.text
  }

  /// As members of an object.
  private static func write(_ report: RepairReport, to writer: inout JSONWriter) {
    writer.member("keys", report.keys)
    writer.member("differing", report.differing)
    writer.member("mended", report.mended)
    writer.member("compared", report.compared)
    writer.member("notCompared", report.notCompared)
    writer.member("bytes", report.bytes)
    writer.member("scanned", report.scanned)
    writer.member("wrongLeaves", report.wrongLeaves)
    writer.member("problem", report.problem)
  }

  private static func word(_ state: NodeStatus.Member.State) -> String {
    switch state {
    case .this: "this"
    case .reachable: "reachable"
    case .unreachable: "unreachable"
    }
  }

  private static func write(_ counters: NodeStatus.Counters, to writer: inout JSONWriter) {
    writer.beginObject()
    writer.member("hints", counters.hints)
    writer.member("hintBytes", counters.hintBytes)
    writer.member("hintsRefused", counters.hintsRefused)
    writer.member("hintsHandedOver", counters.hintsHandedOver)
    writer.member("repairedByReads", counters.repairedByReads)
    writer.member("writes", counters.writes)
    writer.member("reads", counters.reads)
    writer.member("indeterminateWrites", counters.indeterminateWrites)
    writer.member("unavailableReads", counters.unavailableReads)
    writer.endObject()
  }
}
