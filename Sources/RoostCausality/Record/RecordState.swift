/// Which replicated data type a state is; its number in encodings.
public enum RecordKind: UInt8, Hashable, Comparable, Sendable, CaseIterable, CustomStringConvertible {
  case gCounter = 1
  case counter = 2
  case register = 3
  case flag = 4
  case set = 5
  case map = 6

  public static func < (a: RecordKind, b: RecordKind) -> Bool { a.rawValue < b.rawValue }

  public var description: String {
    switch self {
    case .gCounter: "grow-only counter"
    case .counter: "counter"
    case .register: "register"
    case .flag: "flag"
    case .set: "set"
    case .map: "map"
    }
  }
}

/// One of the replicated data types, as a record or a field of a map holds it. A plain value.
public enum RecordState: Hashable, Sendable {
  case gCounter(GCounter)
  case counter(PNCounter)
  case register(LWWRegister)
  case flag(EnableWinsFlag)
  case set(ORSet)
  case map(ORMap)

  public var kind: RecordKind {
    switch self {
    case .gCounter: .gCounter
    case .counter: .counter
    case .register: .register
    case .flag: .flag
    case .set: .set
    case .map: .map
    }
  }

  public var isEmpty: Bool {
    switch self {
    case .gCounter(let state): state.isEmpty
    case .counter(let state): state.isEmpty
    case .register(let state): state.isEmpty
    case .flag(let state): state.isEmpty
    case .set(let state): state.isEmpty
    case .map(let state): state.isEmpty
    }
  }

  /// As ``DotStore/forEachDot(_:)``.
  public func forEachDot(_ body: (Dot) -> Void) {
    switch self {
    case .gCounter(let state): state.forEachDot(body)
    case .counter(let state): state.forEachDot(body)
    case .register(let state): state.forEachDot(body)
    case .flag(let state): state.forEachDot(body)
    case .set(let state): state.forEachDot(body)
    case .map(let state): state.forEachDot(body)
    }
  }

  /// As ``DotStore/join(_:own:other:)``, of a state of the same kind.
  mutating func join(_ other: RecordState, own: VersionVector, other context: VersionVector) {
    switch (self, other) {
    case (.gCounter(var mine), .gCounter(let theirs)):
      mine.join(theirs, own: own, other: context)
      self = .gCounter(mine)
    case (.counter(var mine), .counter(let theirs)):
      mine.join(theirs, own: own, other: context)
      self = .counter(mine)
    case (.register(var mine), .register(let theirs)):
      mine.join(theirs, own: own, other: context)
      self = .register(mine)
    case (.flag(var mine), .flag(let theirs)):
      mine.join(theirs, own: own, other: context)
      self = .flag(mine)
    case (.set(var mine), .set(let theirs)):
      mine.join(theirs, own: own, other: context)
      self = .set(mine)
    case (.map(var mine), .map(let theirs)):
      mine.join(theirs, own: own, other: context)
      self = .map(mine)
    default: preconditionFailure("only states of one kind are joined")
    }
  }

  /// As ``DotStore/remove(seenBy:)``; may leave the state empty.
  package mutating func remove(seenBy vector: VersionVector) {
    switch self {
    case .gCounter(var state):
      state.remove(seenBy: vector)
      self = .gCounter(state)
    case .counter(var state):
      state.remove(seenBy: vector)
      self = .counter(state)
    case .register(var state):
      state.remove(seenBy: vector)
      self = .register(state)
    case .flag(var state):
      state.remove(seenBy: vector)
      self = .flag(state)
    case .set(var state):
      state.remove(seenBy: vector)
      self = .set(state)
    case .map(var state):
      state.remove(seenBy: vector)
      self = .map(state)
    }
  }

  /// As ``DotStore/containsParts(of:seenBy:)``, of a state of the same kind.
  func containsParts(of other: RecordState, seenBy own: VersionVector) -> Bool {
    switch (self, other) {
    case (.gCounter(let mine), .gCounter(let theirs)): mine.containsParts(of: theirs, seenBy: own)
    case (.counter(let mine), .counter(let theirs)): mine.containsParts(of: theirs, seenBy: own)
    case (.register(let mine), .register(let theirs)): mine.containsParts(of: theirs, seenBy: own)
    case (.flag(let mine), .flag(let theirs)): mine.containsParts(of: theirs, seenBy: own)
    case (.set(let mine), .set(let theirs)): mine.containsParts(of: theirs, seenBy: own)
    case (.map(let mine), .map(let theirs)): mine.containsParts(of: theirs, seenBy: own)
    default: preconditionFailure("only states of one kind are compared")
    }
  }

  /// Whether `vector` contains none of the dots.
  func isUnseen(by vector: VersionVector) -> Bool {
    var isUnseen = true
    forEachDot { if vector.contains($0) { isUnseen = false } }
    return isUnseen
  }

  /// The greatest time of a write in it; zero where it holds no times.
  var highestTimestamp: Timestamp {
    switch self {
    case .register(let register): register.latest?.timestamp ?? .zero
    case .map(let map): map.fields.map(\.state.highestTimestamp).max() ?? .zero
    case .gCounter, .counter, .flag, .set: .zero
    }
  }
}
