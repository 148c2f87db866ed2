import Roost
import RoostSimulation
import TestSupport
import Testing

/// Databases that write all kinds of values at once, lose, repeat and reorder what they send each
/// other, restart and crash, hold the same once all have got everything.
// Budget: 10 s
@Suite struct ConvergenceTests {
  @Test func `databases that exchanged everything hold the same records`() throws {
    try withSeeds("databases that exchanged", count: TestSize.of(quick: 5, full: 100)) { seed, random in
      let time = SimulatedTime()
      var databases = try (0..<3).map { index in
        try SynchronousDatabase(
          SimulatedEnvironment(seed: seed &+ UInt64(index), time: time), stores: 1 + index % 2,
          partitions: 4, replicas: 1 + index % 2)
      }
      var letters: [[UInt8]] = []
      var tokens: [ChangeToken?] = [nil, nil, nil]
      for step in 0..<400 {
        let index = random.below(3)
        switch random.below(12) {
        case 0..<8: try write(databases[index], step, &random)
        case 8:
          let page = try databases[index].posts.export(
            since: random.below(3) == 0 ? nil : tokens[index], byteLimit: 500)
          tokens[index] = page.token
          letters.append(page.bytes)
        case 9..<11:
          guard !letters.isEmpty else { continue }
          _ = try databases[index].core.join(ExportPage(bytes: letters[random.below(letters.count)]))
        default:
          time.advance(byNanoseconds: UInt64(random.below(300)) * 1_000_000)
          if random.below(4) == 0 { databases[index] = try databases[index].reopened() }
          if random.below(6) == 0 {
            // What it loses, others may have; it comes back as another. Restarts take their time:
            // each starts up to a clock's window ahead.
            time.advance(byNanoseconds: 5_000_000_000)
            let world = databases[index].world.crashed(.dropAll, seed: random.next())
            databases[index] = try databases[index].after(world)
            tokens[index] = nil
          }
        }
      }
      for from in databases { for to in databases { try from.send(to: to) } }
      for from in databases { for to in databases { try from.send(to: to) } }
      var live = 0
      for key in Self.keys {
        let encodings = try databases.map { try $0.record(key)?.encoding }
        try #require(encodings[0] == encodings[1] && encodings[1] == encodings[2], "\(key)")
        if try databases[0].record(key)?.isTombstone == false { live += 1 }
      }
      try #require(live > 0)
    }
  }

  static let keys = (0..<3).flatMap { number in
    ["plain", "counter", "grow", "register", "flag", "set", "map"].map { "\($0)\(number)" }
  }

  private func write(
    _ database: SynchronousDatabase, _ step: Int, _ random: inout SplitMix64
  ) throws {
    let key = Self.keys[random.below(Self.keys.count)]
    let item = [UInt8(random.below(4))]
    let choice = random.below(4)
    let posts = database.posts
    if random.below(12) == 0 {
      try database.delete(key)
      return
    }
    try key.withKeyBytes { bytes in
      switch key.dropLast() {
      case "plain":
        let context = choice < 2 ? nil : try database.context(key)
        try database.put(
          key, "v\(step)", context, timeToLive: choice == 1 ? .milliseconds(200) : nil)
      case "counter":
        try posts.change(bytes, PNCounter.self) { counter, stamp throws(CausalityError) in
          try counter.increment(by: Int64(choice) - 1, dot: stamp.dot)
          return (true, ())
        }
      case "grow":
        try posts.change(bytes, GCounter.self) { counter, stamp throws(CausalityError) in
          try counter.increment(by: UInt64(choice), dot: stamp.dot)
          return (true, ())
        }
      case "register":
        try posts.change(bytes, LWWRegister.self) { register, stamp throws(CausalityError) in
          register.assign(item, timestamp: stamp.timestamp, dot: stamp.dot)
          return (true, ())
        }
      case "flag":
        try posts.change(bytes, EnableWinsFlag.self) { flag, stamp throws(CausalityError) in
          if choice == 0 { flag.disable() } else { flag.enable(dot: stamp.dot) }
          return (true, ())
        }
      case "set":
        try posts.change(bytes, ORSet.self) { set, stamp throws(CausalityError) in
          if choice == 0 { set.remove(item) } else { set.insert(item, dot: stamp.dot) }
          return (true, ())
        }
      default:
        try posts.change(bytes, ORMap.self) { map, stamp throws(CausalityError) in
          if choice == 0 {
            map.remove(item)
          } else {
            map.update(item, as: EnableWinsFlag.self) { $0.enable(dot: stamp.dot) }
            map.update([9], as: ORSet.self) { $0.insert(item, dot: stamp.dot) }
          }
          return (true, ())
        }
      }
    }
  }
}
