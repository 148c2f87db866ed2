import Roost
import RoostCausality
import RoostCluster

/// The tour's step with two servers: both like the same post while they cannot reach each other.
struct LikesTour {
  let directory: String

  private static let post = Array("likes:42".utf8)
  private static let note = Array("note:42".utf8)

  func run() throws {
    try TourText.step(
      7, "Two servers, one post, two likes",
      """
      B and C like a post at two servers that cannot reach each other, and both edit its note.
      A counter that overwrote would say 1. Here each server counts its own increments, every
      write carries a dot, and the states merge whenever they meet, in whatever order.
      """)
    let names = ["server-b", "server-c"]
    let servers = try names.map {
      try DatabaseOpening.open([directory + "/" + $0], DatabaseOptions(), .posix())
    }
    do { try show(names, servers) } catch {
      for server in servers { try? server.close() }
      throw error
    }
    for server in servers { try server.close() }
  }

  private func show(_ names: [String], _ servers: [DatabaseCore]) throws {
    let posts = try servers.map { try $0.keyspace("posts", .eventual) }
    for (name, posts) in zip(names, posts) {
      try like(posts)
      _ = try Self.note.withKeyBytes {
        try posts.put($0, Array("from \(name)".utf8), context: nil)
      }
      try TourText.line("\(name)  likes  \(try shown(posts, Self.post))")
    }
    _ = try Exchange.exchange(servers[0], servers[1], "posts")
    try TourText.line("")
    try TourText.line("They exchange what they have. Now both say:")
    for (name, posts) in zip(names, posts) {
      try TourText.line("\(name)  likes  \(try shown(posts, Self.post))")
      try TourText.line("\(name)  note   \(try shown(posts, Self.note))")
      let count = try count(posts)
      try TourText.check(count == 2, "\(name) counts \(count) likes, not 2")
    }
    let again = try Exchange.exchange(servers[0], servers[1], "posts")
    try TourText.check(again == (0, 0), "a second exchange brought something new")
    try TourText.line("A second exchange changes nothing. The notes are siblings until someone who has")
    try TourText.line("read both replaces them:")
    _ = try Self.note.withKeyBytes { key in
      let context = posts[0].context(key, try posts[0].record(key))
      return try posts[0].put(key, Array("merged".utf8), context: context)
    }
    _ = try Exchange.exchange(servers[0], servers[1], "posts")
    for (name, posts) in zip(names, posts) {
      try TourText.line("\(name)  note   \(try shown(posts, Self.note))")
    }
    let same = try Self.note.withKeyBytes { try posts[0].record($0) == posts[1].record($0) }
    try TourText.check(same, "the servers disagree about the note")
  }

  private func like(_ posts: KeyspaceCore) throws {
    try Self.post.withKeyBytes { key in
      try posts.change(key, PNCounter.self) { counter, stamp throws(CausalityError) in
        try counter.increment(by: 1, dot: stamp.dot)
        return (true, ())
      }
    }
  }

  private func count(_ posts: KeyspaceCore) throws -> Int64 {
    try Self.post.withKeyBytes { try posts.state($0, PNCounter.self).value() }
  }

  private func shown(_ posts: KeyspaceCore, _ key: [UInt8]) throws -> String {
    guard let record = try key.withKeyBytes({ try posts.record($0) }) else { return "absent" }
    return RecordView(bytes: .plain).line(record)
  }
}
