/// What must not be in a history, by the names of Adya's thesis and of Elle.
struct Anomaly: Hashable, Sendable, CustomStringConvertible {
  enum Kind: String, Sendable {
    /// A cycle of writes over writes.
    case g0 = "G0"
    /// A committed transaction read what an aborted one wrote.
    case g1a = "G1a"
    /// It read what another wrote over before it committed.
    case g1b = "G1b"
    /// A cycle of writes and reads of what was written.
    case g1c = "G1c"
    /// A cycle with one read of what was then overwritten.
    case gSingle = "G-single"
    /// A cycle with several.
    case g2 = "G2"
    /// Two transactions read one version and both replaced it.
    case lostUpdate = "lost update"
    /// A read does not agree with what its own transaction did before.
    case internalRead = "internal"
    /// A value was read that nobody wrote.
    case garbageRead = "garbage read"
    /// One value was appended once and is there twice.
    case duplicateElements = "duplicate elements"
    /// Two reads of a list, neither of which begins with the other.
    case incompatibleOrder = "incompatible order"
    /// The versions of a register follow each other in a circle.
    case cyclicVersions = "cyclic versions"
    /// A transaction depends on one with a later commit timestamp.
    case timestampOrder = "timestamp order"
  }

  var kind: Kind
  /// Whether it is one only because a transaction had ended before another began: the history is
  /// serialisable, but not strictly.
  var needsRealTime = false
  /// The transactions and what binds them, for people.
  var text: String

  var name: String { kind.rawValue + (needsRealTime ? "-realtime" : "") }
  var description: String { "\(name): \(text)" }
}
