import RoostSimulation

/// One operation of a transaction, as a client asked for it and was told of it.
enum HistoryOperation: Hashable, Sendable {
  /// Adds to the list at a key; no two transactions add the same number to the same key.
  case append(String, Int)
  /// Reads a list; `nil` where the answer is not known.
  case readList(String, [Int]?)
  /// Writes a register; no two transactions write the same number to the same key.
  case write(String, Int)
  /// Reads a register; `nil` where the answer is not known, or the key was absent.
  case read(String, Int?)

  /// As Elle writes it: `["append","x",1]`, `["r","x",[1,2]]`, `["w","x",1]`, `["r","x",null]`.
  var json: String {
    switch self {
    case .append(let key, let value): #"["append","\#(key)",\#(value)]"#
    case .readList(let key, let list):
      #"["r","\#(key)",\#(list.map { "[" + $0.map(String.init).joined(separator: ",") + "]" } ?? "null")]"#
    case .write(let key, let value): #"["w","\#(key)",\#(value)]"#
    case .read(let key, let value): #"["r","\#(key)",\#(value.map(String.init) ?? "null")]"#
    }
  }
}

/// What a client asked or was told, at one moment.
struct HistoryEvent: Hashable, Sendable {
  enum Kind: String, Sendable {
    case invoke
    /// Committed.
    case ok
    /// Aborted: it never took place.
    case fail
    /// Nobody knows.
    case info
  }

  var kind: Kind
  /// Does one transaction at a time, and none after `info`.
  var process: Int
  var transaction: String
  var operations: [HistoryOperation]
  /// Nanoseconds of simulated time.
  var time: UInt64
  /// The commit timestamp, where one was told.
  var commit: UInt64?
}

/// What all clients asked and were told, in the order in which it happened.
///
/// Written as one JSON object a line, in the words of Jepsen's histories, so that outside checkers
/// (Elle's list-append and rw-register, porcupine's) read it too. Keys are plain names: nothing in
/// them needs escaping.
struct History: Hashable, Sendable {
  private(set) var events: [HistoryEvent] = []

  mutating func append(_ event: HistoryEvent) { events.append(event) }

  var jsonLines: String {
    events.enumerated().map { index, event in
      HistoryLine(
        index: index, HistoryLine.Kind(rawValue: event.kind.rawValue) ?? .info, process: event.process,
        id: event.transaction, nanoseconds: event.time, event.operations.map(\.json),
        more: event.commit.map { [("commit", "\($0)")] } ?? []
      ).text
    }.joined()
  }

  /// The transactions in the order in which they were begun. What was never answered counts as
  /// `info`.
  var transactions: [HistoryTransaction] {
    var result: [HistoryTransaction] = []
    var open: [Int: Int] = [:]
    for (index, event) in events.enumerated() {
      if event.kind == .invoke {
        open[event.process] = result.count
        result.append(
          HistoryTransaction(
            id: event.transaction, process: event.process, status: .info,
            operations: event.operations, began: index))
      } else if let position = open.removeValue(forKey: event.process) {
        result[position].status = event.kind
        result[position].commit = event.commit
        if event.kind == .ok { result[position].operations = event.operations }
        if event.kind != .info { result[position].ended = index }
      }
    }
    return result
  }
}

/// A transaction of a history: its call and its answer.
struct HistoryTransaction: Hashable, Sendable {
  var id: String
  var process: Int
  var status: HistoryEvent.Kind
  var operations: [HistoryOperation]
  /// Positions in the history. What was answered as `info` may take effect for ever after.
  var began: Int
  var ended: Int?
  var commit: UInt64?
}
