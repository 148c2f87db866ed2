@testable import RoostCluster

/// The least that must move between two rings, found by the plainest minimum-cost flow there is: all
/// nodes, all edges, one unit at a time along the cheapest path (Bellman and Ford). For small rings.
enum CheapestFlow {
  private struct Edge {
    var to: Int
    var capacity: Int
    var cost: Int
  }

  /// - Parameters:
  ///   - old: what is held.
  ///   - new: its members, zones and loads; not its lists.
  static func moves(from old: Ring, to new: Ring) -> Int {
    let zoneNames = RingRules.zones(new.members)
    let zones = Array(Set(zoneNames.values)).sorted()
    let sizes = zones.map { zone in zoneNames.values.count { $0 == zone } }
    var level = 0
    while sizes.reduce(0, { $0 + min($1, level) }) < new.replicas { level += 1 }

    // Nodes: source, sink, members, partitions, zones of partitions.
    let members = new.members.count
    let source = 0
    let sink = 1
    let partition = { 2 + members + $0 }
    let zoneOf = { (p: Int, z: Int) in 2 + members + new.partitionCount + p * zones.count + z }
    var edges: [Edge] = []
    var out = Array(
      repeating: [Int](), count: 2 + members + new.partitionCount * (1 + zones.count))
    func connect(_ from: Int, _ to: Int, _ capacity: Int, _ cost: Int) {
      out[from].append(edges.count)
      edges.append(Edge(to: to, capacity: capacity, cost: cost))
      out[to].append(edges.count)
      edges.append(Edge(to: from, capacity: 0, cost: -cost))
    }
    // What a zone must have is worth more than any number of moves.
    let must = 10_000
    for (index, load) in new.loads.enumerated() { connect(2 + index, sink, load.slots, 0) }
    for p in 0..<new.partitionCount {
      connect(source, partition(p), new.replicas, 0)
      let held = Set(old.replicas(of: p))
      for (z, zone) in zones.enumerated() {
        let least = min(sizes[z], level - 1)
        connect(partition(p), zoneOf(p, z), least, -must)
        connect(partition(p), zoneOf(p, z), min(sizes[z], level) - least, 0)
        for (index, member) in new.members.enumerated() where zoneNames[member.id] == zone {
          connect(zoneOf(p, z), 2 + index, 1, held.contains(member.id) ? 0 : 1)
        }
      }
    }

    var total = 0
    while true {
      var distance = Array(repeating: Int.max, count: out.count)
      var by = Array(repeating: -1, count: out.count)
      distance[source] = 0
      var queue = [source]
      var isQueued = Array(repeating: false, count: out.count)
      var next = 0
      while next < queue.count {
        let from = queue[next]
        next += 1
        isQueued[from] = false
        for edge in out[from] where edges[edge].capacity > 0 {
          let to = edges[edge].to
          if distance[from] + edges[edge].cost < distance[to] {
            distance[to] = distance[from] + edges[edge].cost
            by[to] = edge
            if !isQueued[to] {
              isQueued[to] = true
              queue.append(to)
            }
          }
        }
      }
      guard distance[sink] < Int.max else { break }
      total += distance[sink]
      var node = sink
      while node != source {
        edges[by[node]].capacity -= 1
        edges[by[node] ^ 1].capacity += 1
        node = edges[by[node] ^ 1].to
      }
    }
    let demanded = sizes.reduce(0) { $0 + min($1, level - 1) } * new.partitionCount
    return total + must * demanded
  }
}
