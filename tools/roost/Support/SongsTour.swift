import Roost
import RoostCausality
import RoostCluster
import RoostEnvironment

/// The tour's step with songs: what a fifth server moves, counted for ten million, then done for some.
struct SongsTour {
  let directory: String
  static let songs = 20_000

  func run() throws {
    try TourText.step(
      9, "Ten million songs on four servers, then five",
      """
      Where a key lies must follow from the key. By the remainder of its hash, nearly every
      song moves when a server joins; on a ring of partitions only the newcomer's share does.
      """)
    let comparison = try RingComparison(
      keys: 10_000_000, from: 4, to: 5, replicas: 1, partitions: 1024, tokens: 128)
    for line in comparison.lines(width: 76) { try TourText.line(line) }
    try TourText.check(
      comparison.ring.share < 0.21 && comparison.division.share > 0.79, "other shares moved")
    try TourText.line("")
    try move()
  }

  /// The same with a database: four stores, a fifth joins while songs are played.
  private func move() throws {
    let stores = (1...4).map { "\(directory)/disk\($0)" }
    let database = try DatabaseOpening.open(stores, DatabaseOptions(), .posix())
    _ = try withDatabase(database) { database in
      let songs = try database.keyspace("songs", .eventual)
      for number in 0..<Self.songs { try play(number, songs) }
      try database.setTransferRate(nil)
      _ = try database.addStore("\(directory)/disk5", weight: DatabaseOptions.Member().weight, zone: "")
      var plays = Self.songs
      while !database.rebalance.isBalanced, plays < 40 * Self.songs {
        try play(plays % Self.songs, songs)
        plays += 1
      }
      try database.waitUntilBalanced(.seconds(600))
      let moved = database.rebalance
      try TourText.line(
        "Four stores hold \(Format.count(Self.songs)) songs and their plays; a fifth joins while "
          + "\(Format.count(plays - Self.songs)) more are")
      try TourText.line(
        "played. \(Format.count(moved.movesDone, "partition")) of \(database.ring.partitionCount) "
          + "moved, with \(Format.count(moved.keysMoved)) songs. Counted again, where they are now:")
      var sum = 0
      for number in 0..<Self.songs {
        sum += Int(try key(number).withKeyBytes { try songs.state($0, PNCounter.self).value() })
      }
      try TourText.line("\(Format.count(sum)) plays.")
      try TourText.check(sum == plays, "\(plays) plays were counted, \(sum) are there")
      for line in RingPicture.lines(ring: database.ring, width: 76).prefix(8) { try TourText.line(line) }
    }
  }

  private func key(_ number: Int) -> [UInt8] { Array("song:\(number)".utf8) }

  private func play(_ number: Int, _ songs: KeyspaceCore) throws {
    try key(number).withKeyBytes { key in
      try songs.change(key, PNCounter.self) { counter, stamp throws(CausalityError) in
        try counter.increment(by: 1, dot: stamp.dot)
        return (true, ())
      }
    }
  }
}
