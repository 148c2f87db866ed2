import RoostCluster

/// Where keys lie before and after servers come or go, by three ways of placing them. A value.
///
/// Keys are not kept: each is hashed once, and counted where all keys of one count share their
/// servers: by the two remainders of its hash, by its partition, by the token it finds.
struct RingComparison {
  let keys: Int
  let from: Int
  let to: Int
  let replicas: Int
  let partitions: Int
  let tokens: Int
  let division: Movement
  let ring: Movement
  let circle: Movement

  /// What one way of placing does to each server. Counts copies: of each key, `replicas`.
  struct Movement {
    /// Copies that a server has before and after, and those it did not have before.
    var before: [Int]
    var after: [Int]
    var came: [Int]

    fileprivate init(servers: Int) {
      before = Array(repeating: 0, count: servers)
      after = before
      came = before
    }

    fileprivate mutating func add(_ keys: Int, from old: [Int], to new: [Int]) {
      guard keys > 0 else { return }
      for server in old { before[server] += keys }
      for server in new {
        after[server] += keys
        if !old.contains(server) { came[server] += keys }
      }
    }

    /// Copies that lie elsewhere than before.
    var moved: Int { came.reduce(0, +) }
    /// The part of all copies that moved.
    var share: Double { Double(moved) / Double(after.reduce(0, +)) }
    func went(_ server: Int) -> Int { before[server] - after[server] + came[server] }
  }

  /// - Parameters: as the options of `roost ring compare` and within their limits; `progress` is told
  ///   now and then how many keys are done.
  /// - Throws: `RingError` where the parameters are not within the limits.
  /// - Complexity: O(keys).
  init(
    keys: Int, from: Int, to: Int, replicas: Int, partitions: Int, tokens: Int,
    progress: (Int) -> Void = { _ in }
  ) throws {
    self.keys = keys
    self.from = from
    self.to = to
    self.replicas = replicas
    self.partitions = partitions
    self.tokens = tokens

    let old = Self.servers(from)
    let new = Self.servers(to)
    let ring = try Ring(partitionCount: partitions, replicas: replicas, members: old)
    let target = try ring.plan(to: new).target
    let circle = try TokenRing(members: old, virtualNodes: tokens)
    let targetCircle = try TokenRing(members: new, virtualNodes: tokens)
    // Holds the tokens of both.
    let fuller = from > to ? circle : targetCircle

    var byRemainders = Array(repeating: 0, count: from * to)
    var byPartition = Array(repeating: 0, count: partitions)
    var byToken = Array(repeating: 0, count: fuller.positions.count)
    var key = SongKey()
    for number in 0..<keys {
      let hash = key.hash
      byRemainders[Int(hash % UInt64(from)) * to + Int(hash % UInt64(to))] += 1
      byPartition[Placement.partition(ofHash: hash, count: partitions)] += 1
      byToken[fuller.token(ofHash: hash)] += 1
      key.advance()
      if number & 0xFFFF == 0 { progress(number) }
    }

    let servers = max(from, to)
    var division = Movement(servers: servers)
    for (place, count) in byRemainders.enumerated() {
      let (first, second) = (place / to, place % to)
      division.add(
        count, from: (0..<replicas).map { (first + $0) % from },
        to: (0..<replicas).map { (second + $0) % to })
    }
    var partitioned = Movement(servers: servers)
    for (partition, count) in byPartition.enumerated() {
      partitioned.add(
        count, from: ring.replicas(of: partition).map(Self.place),
        to: target.replicas(of: partition).map(Self.place))
    }
    var circled = Movement(servers: servers)
    for (position, count) in zip(fuller.positions, byToken) where count > 0 {
      circled.add(
        count, from: circle.replicas(ofHash: position, count: replicas),
        to: targetCircle.replicas(ofHash: position, count: replicas))
    }
    self.division = division
    self.ring = partitioned
    self.circle = circled
  }

  /// Servers of equal weight. Their ids are their numbers, from 1: any others would do.
  private static func servers(_ count: Int) -> [RingMember] {
    (1...count).map { RingMember(id: MemberID(rawValue: UInt64($0)), name: "server \($0)") }
  }

  private static func place(_ id: MemberID) -> Int { Int(id.rawValue) - 1 }

  /// The largest part of a server, as a multiple of the mean.
  static func largest(_ copies: [Int], servers: Int) -> Double {
    let mean = Double(copies.reduce(0, +)) / Double(servers)
    return Double(copies.max() ?? 0) / mean
  }
}

/// The keys `song:0`, `song:1`, …, one after the other in one buffer.
private struct SongKey {
  private var bytes = Array("song:0".utf8)
  private static let prefix = 5

  var hash: UInt64 { unsafe Placement.hash(bytes.span.bytes) }

  mutating func advance() {
    var digit = bytes.count - 1
    while digit >= Self.prefix {
      if bytes[digit] < UInt8(ascii: "9") {
        bytes[digit] += 1
        return
      }
      bytes[digit] = UInt8(ascii: "0")
      digit -= 1
    }
    bytes.insert(UInt8(ascii: "1"), at: Self.prefix)
  }
}

// MARK: - Shown

extension RingComparison {
  /// For programs. Members are only ever added.
  func append(to json: inout JSONWriter) {
    func append(_ movement: Movement, to json: inout JSONWriter) {
      json.beginObject()
      json.member("moved", movement.moved)
      json.member("share", movement.share)
      json.member("max_over_mean", Self.largest(movement.after, servers: to))
      json.member("max_over_mean_before", Self.largest(movement.before, servers: from))
      json.endObject()
    }
    json.beginObject()
    json.name("modulo")
    append(division, to: &json)
    json.name("ring")
    append(ring, to: &json)
    json.name("tokens")
    append(circle, to: &json)
    json.member("keys", keys)
    json.member("from", from)
    json.member("to", to)
    json.member("replicas", replicas)
    json.member("partitions", partitions)
    json.member("tokens_per_server", tokens)
    json.endObject()
  }

  /// A table and a picture, in lines of `width` columns at most.
  func lines(width: Int) -> [String] {
    let ways: [(name: String, what: String, movement: Movement)] = [
      ("hash % n", "hash modulo the number of servers", division),
      ("ring", "\(Format.count(partitions, "partition")), a table of who holds which", ring),
      ("tokens", "a circle, each server at \(Format.count(tokens, "place"))", circle),
    ]
    let copies = replicas == 1 ? "keys" : "copies"
    var lines = [
      "\(Format.count(keys, "key")), song:0 to song:\(keys - 1), "
        + (replicas == 1 ? "" : "\(replicas) copies each, ")
        + "from \(Format.count(from, "server")) to \(to)", "",
      Format.left("", 10) + Format.right("\(copies) moved", 16) + Format.right("of all", 10)
        + "   fullest server, as a multiple of the mean",
    ]
    for way in ways {
      let before = Format.fixed(Self.largest(way.movement.before, servers: from), 3)
      let after = Format.fixed(Self.largest(way.movement.after, servers: to), 3)
      lines.append(
        row(way.name, way.movement.moved, way.movement.share)
          + "   \(before) before, \(after) after")
    }
    // Whoever comes has nothing yet, and whoever goes keeps nothing.
    let share = Double(abs(to - from)) / Double(max(from, to))
    let least = Int((Double(keys * replicas) * share).rounded())
    lines.append(row("least", least, share) + "   what equal shares ask for")
    let longest = ways.flatMap { way in
      (0..<max(from, to)).map { max(way.movement.before[$0], way.movement.after[$0] + way.movement.went($0)) }
    }.max() ?? 1
    for way in ways {
      lines += ["", "\(way.name): \(way.what)"]
      lines += picture(way.movement, longest: longest, width: width)
    }
    return lines + ["", ShareBar.legend]
  }

  private func row(_ name: String, _ moved: Int, _ share: Double) -> String {
    Format.left(name, 10) + Format.right(Format.count(moved), 16)
      + Format.right(Format.percent(share), 10)
  }

  /// At most this many servers are drawn of each end.
  private static let drawn = 8

  private func picture(_ movement: Movement, longest: Int, width: Int) -> [String] {
    let servers = max(from, to)
    let total = Double(keys * replicas)
    var lines: [String] = []
    for server in 0..<servers {
      if servers > 2 * Self.drawn, server >= Self.drawn, server < servers - Self.drawn {
        if server == Self.drawn { lines.append("  … \(servers - 2 * Self.drawn) more") }
        continue
      }
      let name = Format.left("  server \(server + 1)", 13)
      let shares =
        Format.right(Format.percent(Double(movement.before[server]) / total), 8) + " →"
        + Format.right(Format.percent(Double(movement.after[server]) / total), 8)
      let bar = ShareBar(
        stays: movement.after[server] - movement.came[server], comes: movement.came[server],
        goes: movement.went(server))
      let columns = max(8, width - name.count - shares.count - 1)
      lines.append(name + Format.left(bar.text(longest: longest, width: columns), columns) + " " + shares)
    }
    return lines
  }
}
