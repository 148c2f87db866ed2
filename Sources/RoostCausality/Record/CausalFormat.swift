/// How causal values are shown to people: dots as `00a1#17`, contexts as `{00a1:17, 3f02:4}`.
public struct CausalFormat: Sendable {
  /// What a replica is called.
  public var replica: @Sendable (ReplicaID) -> String
  /// How a value, an element or a field's name is shown.
  public var bytes: @Sendable ([UInt8]) -> String

  public init(
    replica: @escaping @Sendable (ReplicaID) -> String,
    bytes: @escaping @Sendable ([UInt8]) -> String = CausalFormat.quoted
  ) {
    self.replica = replica
    self.bytes = bytes
  }

  /// Replicas by their first four digits.
  public static let short = CausalFormat { String($0.description.prefix(4)) }
  /// Replicas by all their digits.
  public static let long = CausalFormat { $0.description }

  /// Printable ASCII in quotes, with quotes and backslashes escaped; everything else in hexadecimal.
  @Sendable
  public static func quoted(_ bytes: [UInt8]) -> String {
    guard bytes.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) else {
      let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
      return "0x" + digits.joined()
    }
    var text = "\""
    for byte in bytes {
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { text += "\\" }
      text.unicodeScalars.append(Unicode.Scalar(byte))
    }
    return text + "\""
  }

  public func text(_ dot: Dot) -> String { "\(replica(dot.replica))#\(dot.counter)" }

  public func text(_ vector: VersionVector) -> String {
    "{" + vector.entries.map { "\(replica($0.replica)):\($0.counter)" }.joined(separator: ", ") + "}"
  }

  /// Dots, set apart by spaces.
  public func text(_ dots: [Dot]) -> String { dots.map { text($0) }.joined(separator: " ") }

  public func text(_ sibling: Sibling) -> String {
    "\(bytes(sibling.value)) \(text(sibling.dot)) at \(sibling.timestamp)"
      + (sibling.expiry == 0 ? "" : " expires \(sibling.expiry)")
  }

  /// A state: what a read gives, then the dots that it comes from.
  public func text(_ state: RecordState) -> String {
    switch state {
    case .gCounter(let counter):
      let entries = counter.entries.map { "\(text($0.dot)):\($0.total)" }
      let value = (try? counter.value()).map { "\($0)" } ?? "overflow"
      return "\(state.kind) \(value)  dots " + entries.joined(separator: " ")
    case .counter(let counter):
      let entries = counter.entries.map {
        "\(text($0.dot)):\($0.positive)" + ($0.negative == 0 ? "" : "-\($0.negative)")
      }
      let value = (try? counter.value()).map { "\($0)" } ?? "overflow"
      let operations = counter.operations.map { "\(text($0.dot)):\($0.amount)(\($0.id))" }
      return "\(state.kind) \(value)"
        + (entries.isEmpty ? "" : "  dots " + entries.joined(separator: " "))
        + (operations.isEmpty ? "" : "  operations " + operations.joined(separator: " "))
    case .register(let register):
      let writes = register.writes.map { "\(bytes($0.value)) \(text($0.dot)) at \($0.timestamp)" }
      let value = register.value.map(bytes) ?? "empty"
      return "\(state.kind) \(value)  writes " + writes.joined(separator: ", ")
    case .flag(let flag):
      return "\(state.kind) \(flag.isEnabled ? "on" : "off")  dots \(text(flag.dots))"
    case .set(let set):
      let elements = set.elements.map { "\(bytes($0.value)) \(text($0.dots))" }
      return "\(state.kind) of \(set.count)  {" + elements.joined(separator: ", ") + "}"
    case .map(let map):
      let fields = map.fields.map { "\(bytes($0.name)): \(text($0.state))" }
      return "\(state.kind) of \(map.fields.count)  {" + fields.joined(separator: ", ") + "}"
    }
  }

  /// A record in parts: each sibling, each state, then the context; `tombstone` where nothing is live.
  public func parts(_ record: Record) -> [String] {
    var parts = record.siblings.elements.map { text($0) }
    if parts.count > 1 { parts.insert("\(parts.count) siblings", at: 0) }
    parts += record.states.map { text($0) }
    if parts.isEmpty { parts.append("tombstone") }
    parts.append("context \(text(record.context))")
    return parts
  }
}

extension Record: CustomStringConvertible {
  /// In one line, replicas by their first four digits: `counter 2  dots 00a1#17:1 3f02#4:1  context
  /// {00a1:17, 3f02:4}`.
  public var description: String { CausalFormat.short.parts(self).joined(separator: "  ") }
}

extension VersionVector: CustomStringConvertible {
  public var description: String { CausalFormat.short.text(self) }
}
