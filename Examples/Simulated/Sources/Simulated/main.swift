import RoostSimulation

// A program of one's own in a cluster where all goes wrong: a playlist whose songs are liked. Whatever
// happens to the nodes, no song and no like that was acknowledged may be missing in the end.

struct Playlist {
  let world: SimulatedWorld
  let node: SimulatedNode

  func add(_ song: String) throws { try world.insert(song, into: "playlist", at: node) }
  func like(_ song: String) throws { try world.increment("likes:\(song)", at: node) }
  func songs() throws -> [String] { try world.get("playlist", at: node).elements }
  func likes(_ song: String) throws -> Int64 { try world.get("likes:\(song)", at: node).count }
}

for seed in 1...20 as ClosedRange<UInt64> {
  try Simulation(seed: seed).run { world in
    let nodes = try world.cluster(of: 3)
    try world.beginFaults()
    var added: Set<String> = []
    var liked: [String: Int64] = [:]
    for round in 0..<100 {
      let playlist = Playlist(world: world, node: nodes[round % 3])
      let song = "song\(round / 10)"
      // A call may fail: then nobody knows, and nothing was promised.
      if (try? playlist.add(song)) != nil { added.insert(song) }
      if (try? playlist.like(song)) != nil { liked[song, default: 0] += 1 }
      world.run(for: .milliseconds(200))
    }
    try world.settle()
    let playlist = Playlist(world: world, node: world.runningNodes[0])
    let missing = added.subtracting(try playlist.songs())
    let forgotten = try liked.filter { try playlist.likes($0.key) < $0.value }
    precondition(missing.isEmpty && forgotten.isEmpty && world.violations().isEmpty, "seed \(seed)")
    print("seed \(seed): \(added.count) songs, \(liked.values.reduce(0, +)) likes, all there")
  }
}
