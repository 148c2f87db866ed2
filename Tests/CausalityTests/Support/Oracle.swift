import RoostEnvironment
import TestSupport

@testable import RoostCausality

/// What a record must hold, worked out from events rather than states.
///
/// An event adds parts and removes parts that its maker had seen. A replica holds the parts that the events
/// it knows of have added, less those that the events it knows of have removed. No vectors, no dots but as
/// names: what the records do with theirs must come to the same.
struct Oracle {
  /// A live part: where in the record, of which write, with what.
  struct Part: Hashable {
    var place: String
    var dot: Dot
    var content: [UInt8]
    var expiry: UInt64 = 0
  }

  struct Event {
    var adds: [Part]
    var removes: Set<Part>
    /// `nil` for expiry, which is no write.
    var dot: Dot?
  }

  private(set) var events: [Event] = []

  func live(_ known: Set<Int>) -> Set<Part> {
    var live = Set(known.flatMap { events[$0].adds })
    for event in known { live.subtract(events[event].removes) }
    return live
  }

  /// All parts there ever were among what is known.
  func added(_ known: Set<Int>) -> Set<Part> { Set(known.flatMap { events[$0].adds }) }

  func context(_ known: Set<Int>) -> VersionVector { VersionVector(known.compactMap { events[$0].dot }) }

  mutating func happen(_ event: Event) -> Int {
    events.append(event)
    return events.count - 1
  }
}

extension Record {
  /// All live parts, as the oracle names them.
  var parts: Set<Oracle.Part> {
    var parts = Set<Oracle.Part>()
    for sibling in siblings.elements {
      parts.insert(
        Oracle.Part(place: "sibling", dot: sibling.dot, content: sibling.value, expiry: sibling.expiry))
    }
    for state in states { state.addParts(to: &parts, at: "\(state.kind)") }
    return parts
  }
}

extension RecordState {
  fileprivate func addParts(to parts: inout Set<Oracle.Part>, at place: String) {
    switch self {
    case .gCounter(let counter):
      for entry in counter.entries {
        parts.insert(Oracle.Part(place: place, dot: entry.dot, content: Array("\(entry.total)".utf8)))
      }
    case .counter(let counter):
      for entry in counter.entries {
        let content = "+\(entry.positive)-\(entry.negative)"
        parts.insert(Oracle.Part(place: place, dot: entry.dot, content: Array(content.utf8)))
      }
      for operation in counter.operations {
        let content = Array("\(operation.id) \(operation.amount)".utf8)
        parts.insert(Oracle.Part(place: "\(place)/operation", dot: operation.dot, content: content))
      }
    case .register(let register):
      for write in register.writes {
        parts.insert(Oracle.Part(place: place, dot: write.dot, content: write.value))
      }
    case .flag(let flag):
      for dot in flag.dots { parts.insert(Oracle.Part(place: place, dot: dot, content: [])) }
    case .set(let set):
      for element in set.elements {
        for dot in element.dots {
          parts.insert(Oracle.Part(place: "\(place)/\(element.value)", dot: dot, content: []))
        }
      }
    case .map(let map):
      for field in map.fields { field.state.addParts(to: &parts, at: "\(place)/\(field.name)/\(field.kind)") }
    }
  }
}
