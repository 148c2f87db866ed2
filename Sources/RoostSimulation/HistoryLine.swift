// Histories for outside checkers: what clients asked and were told, one JSON object a line, in the order in
// which it happened, in the words of Jepsen's histories:
//
//   line := {"index":n,"type":"invoke"|"ok"|"fail"|"info","process":n,"f":"txn","id":string,"time":n,
//            "value":[operation, …], more}
//   operation := [name, key, value]
//
// `ok` was done, `fail` never was, of `info` nobody knows. A process does one thing at a time, and none after
// `info`. Times are nanoseconds of simulated time. What was never answered has an `invoke` alone.

/// A line of a history.
package struct HistoryLine: Sendable {
  package enum Kind: String, Sendable {
    case invoke
    case ok
    case fail
    case info
  }

  package var index: Int
  package var kind: Kind
  package var process: Int
  package var id: String
  package var nanoseconds: UInt64
  /// Each in JSON.
  package var operations: [String]
  /// Members behind those that all lines have: names with values in JSON.
  package var more: [(name: String, value: String)] = []

  package init(
    index: Int, _ kind: Kind, process: Int, id: String, nanoseconds: UInt64, _ operations: [String],
    more: [(name: String, value: String)] = []
  ) {
    self.index = index
    self.kind = kind
    self.process = process
    self.id = id
    self.nanoseconds = nanoseconds
    self.operations = operations
    self.more = more
  }

  /// With its line feed.
  package var text: String {
    var text = #"{"index":\#(index),"type":"\#(kind.rawValue)","process":\#(process),"f":"txn","#
    text += #""id":\#(Self.json(id)),"time":\#(nanoseconds),"value":[\#(operations.joined(separator: ","))]"#
    for (name, value) in more { text += ",\(Self.json(name)):\(value)" }
    return text + "}\n"
  }

  /// An operation on a key.
  ///
  /// - Parameter value: in JSON.
  package static func operation(_ name: String, _ key: String, _ value: String) -> String {
    "[\(json(name)),\(json(key)),\(value)]"
  }

  package static func json(_ list: [String]) -> String {
    "[" + list.map { json($0) }.joined(separator: ",") + "]"
  }

  package static func json(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\u{0}"..<"\u{20}":
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
