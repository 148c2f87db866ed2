import RoostCausality
import RoostEnvironment
import TestSupport

/// What a property test found: thrown, so that `withSeeds` prints the seed.
struct Violated: Error, CustomStringConvertible {
  var description: String
}

/// As `#require`, without its cost: properties are checked a million times.
func check(_ holds: Bool, _ law: @autoclosure () -> String) throws {
  if !holds { throw Violated(description: law()) }
}

extension SplitMix64 {
  mutating func chance(_ part: Int, of whole: Int) -> Bool { below(whole) < part }

  mutating func pick<Element>(_ elements: [Element]) -> Element { elements[below(elements.count)] }
}

/// Names for replicas: `a`, `b`, … `z`.
func replica(_ name: Character) -> ReplicaID {
  ReplicaID(rawValue: UInt64(name.asciiValue ?? 0) << 56 | 0x23_4567_89AB_CDEF)
}

func dot(_ name: Character, _ counter: UInt64) -> Dot { Dot(replica: replica(name), counter: counter) }

func text(_ value: [UInt8]) -> String { String(decoding: value, as: UTF8.self) }

extension Record {
  /// Writes `value`, replacing what `context` has seen.
  mutating func put(_ value: String, _ context: VersionVector = VersionVector(), _ dot: Dot) throws {
    try put(
      Array(value.utf8), replacing: context, dot: dot, timestamp: Timestamp(rawValue: dot.counter))
  }

  func putting(_ value: String, _ context: VersionVector = VersionVector(), _ dot: Dot) throws -> Record {
    var record = self
    try record.put(value, context, dot)
    return record
  }

  /// All live values, sorted.
  var values: [String] { siblings.elements.map { text($0.value) }.sorted() }

  func joined(_ other: Record) -> Record {
    var record = self
    record.join(other)
    return record
  }
}
