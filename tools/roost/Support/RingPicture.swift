import RoostCluster

/// A ring for people: each member's share as a bar, by zone, and a map of the partitions; with a plan,
/// what it would move.
enum RingPicture {
  /// - Parameters:
  ///   - ring: as it is.
  ///   - plan: made from that ring; `nil` shows the ring alone.
  ///   - width: columns of the longest line, at least 72.
  static func lines(ring: Ring, plan: RingPlan? = nil, width: Int = 80) -> [String] {
    let width = max(72, width)
    let rows = rows(ring, plan)
    var lines = [headline(ring)]
    if !ring.leaving.isEmpty { lines.append("a change is under way: its moves are not all done") }
    lines += [""] + members(rows, plan != nil, width)
    lines += ["", balance(plan?.target ?? ring, plan != nil)]
    if let plan { lines += [""] + summary(ring, plan, rows) }
    if ring.partitionCount <= mapLimit, rows.count <= symbols.count {
      lines += [""] + map(ring, plan, rows, width)
    }
    return lines
  }

  // MARK: Rows

  /// A member of the ring, of the plan's target, or of both.
  private struct Row {
    var id: MemberID
    var name: String
    var zone: String
    var old: RingMember?
    var new: RingMember?
    var isLeaving: Bool
    var slots: (before: Int, after: Int)
    var coordinated: Int
    var came: Int
    var symbol: Character = "?"
  }

  /// By zone, then by name.
  private static func rows(_ ring: Ring, _ plan: RingPlan?) -> [Row] {
    let target = plan?.target ?? ring
    let all = ring.members + target.members.filter { ring.member($0.id) == nil }
    var rows = all.map { member in
      let new = target.member(member.id)
      let load = target.load(of: member.id)
      return Row(
        id: member.id, name: shown((new ?? member).name), zone: shown((new ?? member).zone),
        old: ring.member(member.id), new: new,
        isLeaving: plan == nil && ring.leaving.contains { $0.id == member.id },
        slots: (ring.load(of: member.id).slots, load.slots), coordinated: load.coordinated,
        came: plan?.incoming(member.id) ?? 0)
    }
    rows.sort { ($0.zone, $0.name, $0.id) < ($1.zone, $1.name, $1.id) }
    for (index, symbol) in zip(rows.indices, symbols) { rows[index].symbol = symbol }
    return rows
  }

  /// Text of others, fit for a terminal, of 20 columns at most.
  private static func shown(_ text: String) -> String {
    let text = TextEscape.text(Array(text.utf8))
    return text.count <= 20 ? text : text.prefix(19) + "…"
  }

  private static func headline(_ ring: Ring) -> String {
    let zones = Set(ring.members.map(\.zone).filter { !$0.isEmpty }).count
    return Format.count(ring.partitionCount, "partition") + ", "
      + Format.count(ring.replicas, "replica") + " each, on "
      + Format.count(ring.members.count, "store")
      + (zones > 0 ? " in " + Format.count(zones, "zone") : "") + "; epoch \(ring.epoch)"
  }

  private static func members(_ rows: [Row], _ isPlan: Bool, _ width: Int) -> [String] {
    let name = min(20, rows.map(\.name.count).max() ?? 0)
    let total = max(1, rows.reduce(0) { $0 + $1.slots.after })
    let longest = rows.map { max($0.slots.before, $0.slots.after + went($0)) }.max() ?? 1
    let hasZones = rows.contains { !$0.zone.isEmpty }
    var lines: [String] = []
    var zone: String?
    for row in rows {
      if hasZones, row.zone != zone {
        lines.append(row.zone.isEmpty ? "no zone named" : "zone \(row.zone)")
        zone = row.zone
      }
      let weight = (row.new ?? row.old)?.weight ?? 0
      let left = "  \(row.symbol) " + Format.left(row.name, name) + Format.right("×\(weight)", 6) + "  "
      let share = { (slots: Int) in Format.right(Format.percent(Double(slots) / Double(total)), 7) }
      var right = "  " + Format.right(Format.count(row.slots.after), 6) + " " + share(row.slots.after)
      if isPlan { right = "  " + share(row.slots.before) + " →" + share(row.slots.after) }
      let bar = ShareBar(
        stays: row.slots.after - row.came, comes: row.came, goes: went(row))
      let columns = max(8, width - left.count - right.count)
      lines.append(left + Format.left(bar.text(longest: longest, width: columns), columns) + right)
      if row.isLeaving { lines.append("    is leaving") }
    }
    if isPlan { lines += ["", ShareBar.legend] }
    return lines
  }

  private static func went(_ row: Row) -> Int { row.slots.before - row.slots.after + row.came }

  /// How far the fullest is above its share by weight.
  private static func balance(_ ring: Ring, _ isPlan: Bool) -> String {
    let weights = Double(ring.staying.reduce(0) { $0 + $1.weight })
    let slots = Double(ring.partitionCount * ring.replicas)
    let worst = ring.staying.map {
      (member: $0, factor: Double(ring.load(of: $0.id).slots) / slots * weights / Double($0.weight))
    }.max { $0.factor < $1.factor }
    guard let worst else { return "" }
    return "fullest for its weight\(isPlan ? " afterwards" : ""): \(shown(worst.member.name)), "
      + "\(Format.fixed(worst.factor, 3)) times the mean"
  }

  // MARK: What changes

  private static func summary(_ ring: Ring, _ plan: RingPlan, _ rows: [Row]) -> [String] {
    if plan.isEmpty { return ["nothing would change"] }
    let slots = ring.partitionCount * ring.replicas
    var lines = [
      "would move \(Format.count(plan.moves.count)) of \(Format.count(slots, "replica")) "
        + "(\(Format.percent(Double(plan.moves.count) / Double(slots)))), "
        + "one of a partition at a time"
    ]
    for row in rows {
      var changes: [String] = []
      switch (row.old, row.new) {
      case (nil, _): changes.append("joins")
      case (_, nil): changes.append("leaves")
      case (let old?, let new?):
        if old.weight != new.weight { changes.append("weight \(old.weight) → \(new.weight)") }
        if old.zone != new.zone {
          changes.append("zone \(zoneName(old.zone)) → \(zoneName(new.zone))")
        }
        if old.name != new.name { changes.append("was \(shown(old.name))") }
      }
      if row.came > 0 { changes.append("takes \(Format.count(row.came))") }
      if went(row) > 0 { changes.append("gives \(Format.count(went(row)))") }
      if !changes.isEmpty { lines.append("  \(row.name): " + changes.joined(separator: ", ")) }
    }
    return lines
  }

  private static func zoneName(_ zone: String) -> String { zone.isEmpty ? "none" : shown(zone) }

  // MARK: The map

  private static let symbols = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
  /// Rings of more partitions are not mapped.
  private static let mapLimit = 4096

  /// A letter a partition: who coordinates it; with a plan, who takes a replica of it.
  private static func map(
    _ ring: Ring, _ plan: RingPlan?, _ rows: [Row], _ width: Int
  ) -> [String] {
    let symbol = Dictionary(uniqueKeysWithValues: rows.map { ($0.id, $0.symbol) })
    var cells: [Character]
    var title: String
    if let plan {
      if plan.moves.isEmpty { return [] }
      title = "who takes a replica of which partition (· nobody, * several):"
      cells = Array(repeating: "·", count: ring.partitionCount)
      for move in plan.moves {
        cells[move.partition] = cells[move.partition] == "·" ? symbol[move.to] ?? "?" : "*"
      }
    } else {
      title = "who coordinates which partition:"
      cells = (0..<ring.partitionCount).map { symbol[ring.replica(of: $0, slot: 0)] ?? "?" }
    }
    // Rows of a power of two.
    var row = 8
    while row * 2 + 8 <= width, row < cells.count { row *= 2 }
    return [title]
      + stride(from: 0, to: cells.count, by: row).map { start in
        Format.right("\(start)", 6) + "  " + String(cells[start..<min(start + row, cells.count)])
      }
  }
}
