import RoostCausality
import RoostEnvironment
import TestSupport

/// The records of one key at some replicas, changed and joined at random: what a cluster's stores may hold.
struct RandomRecords {
  private(set) var records: [Record]
  private var counters: [UInt64]
  private var time: UInt64 = 1

  init(replicas: Int) {
    records = Array(repeating: Record(), count: replicas)
    counters = Array(repeating: 0, count: replicas)
  }

  /// Names that share prefixes, and few of them, so that replicas meet.
  private static let names: [[UInt8]] = [[], [0], [0, 0], [97], [97, 98]]

  mutating func step(_ random: inout SplitMix64) throws {
    let index = random.below(records.count)
    if random.below(3) == 0 {
      records[index].join(records[random.below(records.count)])
      return
    }
    time += 1
    // Counters are a store's, so they have gaps.
    counters[index] += UInt64(random.below(2)) + 1
    let dot = Dot(replica: ReplicaID(rawValue: UInt64(index) + 1), counter: counters[index])
    let timestamp = Timestamp(milliseconds: time)
    let name = Self.names[random.below(Self.names.count)]
    let read = records[random.below(records.count)].context
    switch random.below(9) {
    case 0, 1:
      let expiry = random.below(2) == 0 ? 0 : time + UInt64(random.below(20))
      let replacing = random.below(2) == 0 ? records[index].context : VersionVector()
      try records[index].put(
        random.bytes(random.below(4)), expiry: expiry, replacing: replacing, dot: dot, timestamp: timestamp)
    case 2:
      // A writer may have read less than is here; more would be joined before.
      let replacing = read.isAtMost(records[index].context) ? read : records[index].context
      try records[index].delete(replacing: replacing, dot: dot)
    case 3:
      try records[index].update(PNCounter.self, dot: dot) { counter, dot in
        try counter.increment(by: 3, dot: dot)
      }
    case 4:
      try records[index].update(ORSet.self, dot: dot) { set, dot in
        if random.below(3) == 0 {
          set.remove(name)
        } else {
          // One write of several elements.
          set.insert(name, dot: dot)
          set.insert(name + [1], dot: dot)
        }
      }
    case 5:
      try records[index].update(ORMap.self, dot: dot) { map, dot in
        if random.below(4) == 0 {
          map.remove(name)
        } else if random.below(2) == 0 {
          try map.update(name, as: GCounter.self) { try $0.increment(by: 1, dot: dot) }
        } else {
          map.update(name, as: ORSet.self) { $0.insert(name, dot: dot) }
        }
      }
    case 6:
      try records[index].update(EnableWinsFlag.self, dot: dot) { flag, dot in
        if random.below(3) == 0 { flag.disable() } else { flag.enable(dot: dot) }
      }
    case 7:
      try records[index].update(LWWRegister.self, dot: dot) { register, dot in
        register.assign([1], timestamp: timestamp, dot: dot)
        if random.below(4) == 0 { register.clear() }
      }
    default: _ = records[index].expire(at: time)
    }
  }
}
