/// Finds the cycles of a dependency graph, and names each by the weakest thing that explains it.
extension DependencyGraph {
  /// One anomaly of each kind and component: first without real time, and, where there is none, with
  /// it.
  func anomalies(_ names: [String]) -> [Anomaly] {
    let plain = anomalies(names, realTime: [])
    return plain.isEmpty ? anomalies(names, realTime: [.realTime]) : plain
  }

  private func anomalies(_ names: [String], realTime: Set<Kind>) -> [Anomaly] {
    let writes = realTime.union([.writeWrite])
    let reads = writes.union([.writeRead])
    let all = reads.union([.readWrite])
    var result = search(.g0, through: .writeWrite, back: writes, within: writes, names)
    result += search(.g1c, through: .writeRead, back: reads, within: reads, names)
    let single = search(.gSingle, through: .readWrite, back: reads, within: all, names)
    result += single
    // Where one such read is enough to close a cycle, longer ones say nothing more.
    if single.isEmpty { result += search(.g2, through: .readWrite, back: all, within: all, names) }
    return result
  }

  private func search(
    _ kind: Anomaly.Kind, through: Kind, back: Set<Kind>, within: Set<Kind>, _ names: [String]
  ) -> [Anomaly] {
    let component = components(within)
    var found: Set<Int> = []
    var result: [Anomaly] = []
    for list in edges {
      for edge in list where edge.kind == through {
        guard let here = component[edge.from], here == component[edge.to], !found.contains(here),
          let rest = path(from: edge.to, to: edge.from, back, in: component)
        else { continue }
        found.insert(here)
        let cycle = [edge] + rest
        result.append(
          Anomaly(
            kind: kind, needsRealTime: cycle.contains { $0.kind == .realTime },
            text: describe(cycle, names)))
      }
    }
    return result
  }

  /// `T1 -ww x-> T2 -rt-> T1`; moments are left out.
  private func describe(_ cycle: [Edge], _ names: [String]) -> String {
    var text = names[cycle[0].from]
    for edge in cycle where edge.to < transactionCount {
      let key = edge.key.isEmpty ? "" : " \(edge.key)"
      text += " -\(edge.kind.name)\(key)-> \(names[edge.to])"
    }
    return text
  }

  /// Edges that go against the commit timestamps. A read may have its version's own timestamp (a
  /// snapshot at that time has), and so may two writes, to different elements of one list.
  func againstTime(_ transactions: [HistoryTransaction?], _ names: [String]) -> [Anomaly] {
    edges.prefix(transactionCount).joined().compactMap { edge in
      guard edge.kind != .realTime, let from = transactions[edge.from]?.commit,
        let to = transactions[edge.to]?.commit
      else { return nil }
      if from < to || (from == to && edge.kind != .readWrite) { return nil }
      return Anomaly(
        kind: .timestampOrder,
        text: "\(names[edge.from]) at \(from) -\(edge.kind.name) \(edge.key)-> "
          + "\(names[edge.to]) at \(to)")
    }
  }
}
