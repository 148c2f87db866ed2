import RoostCluster
import RoostEnvironment

/// A change of a cluster's members as text.
enum ChangeText {
  /// So many moves are named one by one.
  private static let mostMoves = 8

  /// `under way: 8 partitions to move, 1 of them moving; 3 to delete where they were`
  static func short(_ change: ChangeProgress) -> String {
    guard change.isUnderWay else { return "none under way" }
    let moving = change.moving.isEmpty ? "" : ", \(Format.count(change.moving.count)) of them moving"
    let drops =
      change.dropsLeft > 0 ? "; \(Format.count(change.dropsLeft)) to delete where they were" : ""
    if change.isCancelled { return "cancelled: what it had begun is being given up" + drops }
    return "under way: " + Format.count(change.movesLeft, "partition") + " to move" + moving + drops
  }

  /// All that the nodes say of it.
  static func lines(_ survey: ChangeSurvey) -> [String] {
    let change = survey.change
    var lines = ["change     \(short(change))"]
    if change.isUnderWay {
      for member in change.leaving { lines.append("leaving    \(survey.label(member))") }
      for move in change.moving.prefix(mostMoves) {
        let (from, to) = (survey.label(move.from), survey.label(move.to))
        lines.append("moving     partition \(move.partition) from \(from) to \(to)")
      }
      if change.moving.count > mostMoves {
        lines.append("           and \(Format.count(change.moving.count - mostMoves)) more")
      }
      if let rate = survey.bytesPerSecond { lines.append("rate       \(Format.bytes(Int(rate))) a second") }
      for node in survey.nodes {
        guard let waits = waits(node.change) else { continue }
        lines.append("waits      \(MemberNames.label(node.member))\(waits)")
      }
    }
    lines.append(
      "brought    \(Format.count(survey.keys, "key")), \(Format.bytes(survey.bytes)), "
        + "since the nodes were started")
    for member in survey.silent { lines.append("silent     \(MemberNames.label(member))") }
    return lines
  }

  /// `, for 3.20 s: partition 3 moves from …`
  private static func waits(_ change: ChangeProgress) -> String? {
    guard !change.waitsFor.isEmpty else { return nil }
    let now = Environment.posix().time.wallClockNanoseconds / 1_000_000
    let age = Format.duration(nanoseconds: (now - min(change.waitsSince, now)) * 1_000_000)
    return ", for \(age): \(change.waitsFor)"
  }

  /// On one line, as it goes on.
  static func progress(_ survey: ChangeSurvey, of most: Int) -> String {
    let done = most - min(most, survey.change.movesLeft)
    var text = "\(Format.count(done)) of \(Format.count(most, "partition"))"
    text += ", \(Format.count(survey.keys, "key"))"
    if let rate = survey.bytesPerSecond { text += ", \(Format.bytes(Int(rate))) a second" }
    if survey.change.dropsLeft > 0 { text += ", \(Format.count(survey.change.dropsLeft)) to delete" }
    if let waiting = survey.reason { text += "; waits: \(waiting)" }
    return text
  }

  static func json(_ survey: ChangeSurvey) -> String {
    var writer = JSONWriter()
    writer.beginObject()
    members(survey.change, to: &writer)
    writer.member("keys", survey.keys)
    writer.member("bytes", survey.bytes)
    if let rate = survey.bytesPerSecond { writer.member("bytesPerSecond", rate) }
    writer.name("nodes")
    writer.beginArray()
    for node in survey.nodes {
      writer.beginObject()
      writer.member("id", "\(node.member.id)")
      writer.member("address", node.member.address)
      brought(node.change, to: &writer)
      writer.endObject()
    }
    writer.endArray()
    writer.name("silent")
    writer.beginArray()
    for member in survey.silent { writer.value("\(member.id)") }
    writer.endArray()
    writer.endObject()
    return writer.text
  }

  /// What one node says, as an object.
  static func write(_ change: ChangeProgress, to writer: inout JSONWriter) {
    writer.beginObject()
    members(change, to: &writer)
    brought(change, to: &writer)
    writer.endObject()
  }

  private static func members(_ change: ChangeProgress, to writer: inout JSONWriter) {
    writer.member("revision", change.revision)
    writer.member("underWay", change.isUnderWay)
    writer.member("cancelled", change.isCancelled)
    writer.member("movesLeft", change.movesLeft)
    writer.member("dropsLeft", change.dropsLeft)
    writer.name("moving")
    writer.beginArray()
    for move in change.moving {
      writer.beginObject()
      writer.member("partition", move.partition)
      writer.member("from", "\(move.from)")
      writer.member("to", "\(move.to)")
      writer.endObject()
    }
    writer.endArray()
    writer.name("leaving")
    writer.beginArray()
    for member in change.leaving { writer.value("\(member)") }
    writer.endArray()
  }

  /// Since that node was started.
  private static func brought(_ change: ChangeProgress, to writer: inout JSONWriter) {
    writer.member("movesDone", change.movesDone)
    writer.member("keys", change.keys)
    writer.member("bytes", change.bytes)
    writer.member("waitsFor", change.waitsFor)
    writer.member("waitsSince", change.waitsSince)
  }
}
