import Roost
import RoostCausality
import RoostCluster

/// How a record of an eventual keyspace is shown: siblings, typed states, dots, context.
struct RecordView {
  var bytes: BytesOptions
  /// Replicas by all their digits.
  var long = false

  private var format: CausalFormat {
    let options = bytes
    return CausalFormat(
      replica: long ? CausalFormat.long.replica : CausalFormat.short.replica,
      bytes: { options.text($0) })
  }

  /// In one line, parts set apart by four spaces: `counter 2    dots …    context …`.
  func line(_ record: Record) -> String {
    format.parts(record).flatMap { $0.split(separator: "  ", omittingEmptySubsequences: true) }
      .map { $0.trimmingPrefix { $0 == " " } }.joined(separator: "    ")
  }

  /// Writes a record's members into an open JSON object.
  ///
  /// - Parameter visible: its values as the keyspace's policy shows them.
  func write(_ record: Record, visible: [Sibling], to writer: inout JSONWriter) {
    writer.name("values")
    writer.beginArray()
    for sibling in visible { writer.value(data: sibling.value) }
    writer.endArray()
    writer.name("siblings")
    writer.beginArray()
    for sibling in record.siblings.elements {
      writer.beginObject()
      writer.member("value", data: sibling.value)
      writer.member("dot", format(sibling.dot))
      writer.member("milliseconds", sibling.timestamp.milliseconds)
      if sibling.expiry != 0 { writer.member("expires", sibling.expiry) }
      writer.endObject()
    }
    writer.endArray()
    writer.name("states")
    writer.beginArray()
    for state in record.states { write(state, to: &writer) }
    writer.endArray()
    writer.name("context")
    writer.beginObject()
    for entry in record.context.entries { writer.member(dynamic: entry.replica.description, entry.counter) }
    writer.endObject()
  }

  private func format(_ dot: Dot) -> String { CausalFormat.long.text(dot) }

  private func write(_ state: RecordState, to writer: inout JSONWriter) {
    writer.beginObject()
    writer.member("kind", "\(state.kind)")
    writer.name("value")
    writeValue(state, to: &writer)
    writer.name("dots")
    writer.beginArray()
    state.forEachDot { writer.value(format($0)) }
    writer.endArray()
    writer.endObject()
  }

  private func writeValue(_ state: RecordState, to writer: inout JSONWriter) {
    switch state {
    case .gCounter(let counter):
      if let value = try? counter.value() { writer.value(value) } else { writer.valueNull() }
    case .counter(let counter):
      if let value = try? counter.value() { writer.value(value) } else { writer.valueNull() }
    case .register(let register):
      if let value = register.value { writer.value(data: value) } else { writer.valueNull() }
    case .flag(let flag): writer.value(flag.isEnabled)
    case .set(let set):
      writer.beginArray()
      for element in set.values { writer.value(data: element) }
      writer.endArray()
    case .map(let map):
      writer.beginArray()
      for field in map.fields {
        writer.beginObject()
        writer.member("field", data: field.name)
        writer.member("kind", "\(field.kind)")
        writer.name("value")
        writeValue(field.state, to: &writer)
        writer.endObject()
      }
      writer.endArray()
    }
  }
}
