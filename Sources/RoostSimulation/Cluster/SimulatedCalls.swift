import RoostCausality
import RoostCluster

/// What a read or a write of a simulation saw: handed back with a write, that write replaces just this.
public struct SimulatedContext: Sendable {
  let token: CausalContext
  /// The writes behind it, by their numbers in the history.
  let seen: Set<Int>
}

/// What a read of a simulation returned. Of a key's kinds of content it has one, as a rule.
public struct SimulatedRead: Sendable {
  /// Plain values: none, one, or siblings, in order of their text.
  public var values: [String] = []
  /// The sum of a counter; 0 where there is none.
  public var count: Int64 = 0
  /// The elements of a set, in order of their text.
  public var elements: [String] = []
  public var context: SimulatedContext

  init(_ content: KeyContent, _ count: Int64, _ context: SimulatedContext) {
    values = content.values
    self.count = count
    elements = content.elements
    self.context = context
  }
}

/// A call of a client under way. Used by one thread.
final class ClientCall: @unchecked Sendable {
  enum Ending: Sendable {
    case answered(KeyAnswer)
    case failed(DatabaseError)
    /// The node is gone.
    case lost
  }

  private var done: (@Sendable (Ending) -> Void)?

  init(_ done: @escaping @Sendable (Ending) -> Void) { self.done = done }

  func end(_ ending: Ending) {
    let done = done
    self.done = nil
    done?(ending)
  }
}

/// What a call came to, as the client sees it.
enum CallResult: Sendable {
  case read(SimulatedRead)
  /// What the writer may replace next.
  case written(SimulatedContext)
  case failed(any Error)
}

extension SimulatedWorld {
  /// Failures of writes that say for certain that nothing was done.
  private static let refusals: Set<DatabaseError.Code> = [
    .unreachable, .busy, .conditionFailed, .unknownKeyspace, .invalidArgument, .wrongKind, .foreignContext,
  ]

  /// Begins a client's call, and notes it in the history.
  ///
  /// - Parameters:
  ///   - client: of several that act at a time.
  ///   - done: called once, as an event, or at once where the node does not run.
  func begin(
    _ asked: AskedCall, at host: SimulatedHost, isSynced: Bool, client: Int = 0,
    _ done: @escaping @Sendable (CallResult) -> Void
  ) {
    let number = history.begin(
      asked, node: host.index, isSynced: isSynced, client: client, at: nanoseconds)
    let call = ClientCall { [self] ending in finish(number, asked, ending, done) }
    guard let process = host.process, process.isAlive else {
      return call.end(.failed(DatabaseError(.unreachable, "node \(host.index + 1) does not run")))
    }
    let id = UInt64(number)
    process.calls[id] = call
    var request = asked.request
    request.isSynced = isSynced
    request.quorum = asked.isRead ? readQuorum : writeQuorum
    let sent = request
    let label = EventLabel(kind: .call, from: host.index, to: host.index, detail: id)
    plan(after: UInt64(50_000 + below(500_000)) * host.slowness, label) {
      guard process.isAlive, let node = process.node else { return }
      node.perform(sent, deadline: node.requestDeadline) { result in
        // Of a process that is about to be found dead nothing is heard.
        guard process.isAlive, process.calls.removeValue(forKey: id) != nil else { return }
        switch result {
        case .success(let answer): call.end(.answered(answer))
        case .failure(let error): call.end(.failed(error))
        }
      }
    }
  }

  private func finish(
    _ number: Int, _ asked: AskedCall, _ ending: ClientCall.Ending,
    _ done: @Sendable (CallResult) -> Void
  ) {
    switch ending {
    case .answered(let answer):
      if case .get(let key) = asked {
        let content = KeyContent(answer.record)
        history.end(number, .acknowledged, found: content, at: nanoseconds)
        guard let count = content.count else {
          return done(.failed(SimulationError("the counter \(key) overflows")))
        }
        let seen = history.numbers(of: content.values, in: key)
        return done(
          .read(SimulatedRead(content, count, SimulatedContext(token: answer.context, seen: seen))))
      }
      history.end(number, .acknowledged, at: nanoseconds)
      var seen = history.calls[number].seen
      if case .put = asked { seen.insert(number) }
      done(.written(SimulatedContext(token: answer.context, seen: seen)))
    case .failed(let error):
      let reason = "\(error.code)"
      history.end(
        number, Self.refusals.contains(error.code) ? .refused(reason) : .inDoubt(reason), at: nanoseconds)
      done(.failed(error))
    case .lost:
      history.end(number, .inDoubt("the node is gone"), at: nanoseconds)
      done(.failed(DatabaseError(.indeterminate, "the node went down before it answered")))
    }
  }

  /// Does a call, and lets the world run until it has ended.
  private func wait(for asked: AskedCall, at node: SimulatedNode, _ isSynced: Bool) throws -> CallResult {
    let result = Box<CallResult?>(nil)
    begin(asked, at: try host(node), isSynced: isSynced) { result.value = $0 }
    try run(untilTrue: { result.value != nil }, within: .seconds(600))
    guard let ended = result.value else { throw SimulationError("a call was never answered: \(asked)") }
    if case .failed(let error) = ended { throw error }
    return ended
  }

  private func write(
    _ asked: AskedCall, at node: SimulatedNode, _ isSynced: Bool
  ) throws -> SimulatedContext {
    guard case .written(let context) = try wait(for: asked, at: node, isSynced) else {
      throw SimulationError("a write was answered as a read: \(asked)")
    }
    return context
  }

  /// Reads a key from a quorum of its replicas.
  ///
  /// - Throws: `DatabaseError`, as `Keyspace.get`: `.unreachable` where too few replicas answer, or the
  ///   node does not run. ``SimulationError`` where the simulation is at its end.
  public func get(_ key: String, at node: SimulatedNode) throws -> SimulatedRead {
    guard case .read(let read) = try wait(for: .get(key), at: node, false) else {
      throw SimulationError("a read was answered as a write: \(key)")
    }
    return read
  }

  /// Writes a value to a quorum of a key's replicas.
  ///
  /// - Parameters:
  ///   - value: the checks tell writes apart by it: best written once a key.
  ///   - context: what it replaces; nothing where `nil`.
  ///   - synced: whether each replica syncs it before it counts. Only such writes are promised to survive.
  /// - Returns: what the writer may replace next.
  /// - Throws: `DatabaseError`, as `Keyspace.put`: after `.indeterminate` the value may still appear.
  ///   ``SimulationError`` where the simulation is at its end.
  @discardableResult
  public func put(
    _ key: String, _ value: String, at node: SimulatedNode, context: SimulatedContext? = nil,
    synced: Bool = true
  ) throws -> SimulatedContext {
    try write(.put(key, value, context), at: node, synced)
  }

  /// Deletes what a context has seen.
  ///
  /// - Throws: as ``put(_:_:at:context:synced:)``.
  @discardableResult
  public func delete(
    _ key: String, at node: SimulatedNode, context: SimulatedContext, synced: Bool = true
  ) throws -> SimulatedContext {
    try write(.delete(key, context), at: node, synced)
  }

  /// Adds to a counter.
  ///
  /// - Throws: as ``put(_:_:at:context:synced:)``.
  public func increment(
    _ key: String, by amount: Int64 = 1, at node: SimulatedNode, synced: Bool = true
  ) throws {
    _ = try write(.increment(key, amount), at: node, synced)
  }

  /// Adds an element to a set.
  ///
  /// - Throws: as ``put(_:_:at:context:synced:)``.
  public func insert(
    _ element: String, into key: String, at node: SimulatedNode, synced: Bool = true
  ) throws {
    _ = try write(.add(key, element), at: node, synced)
  }

  /// Removes an element from a set, as far as the node's replica has it.
  ///
  /// - Throws: as ``put(_:_:at:context:synced:)``.
  public func remove(
    _ element: String, from key: String, at node: SimulatedNode, synced: Bool = true
  ) throws {
    _ = try write(.remove(key, element), at: node, synced)
  }
}

/// A variable that closures share. Used by one thread.
final class Box<Value>: @unchecked Sendable {
  var value: Value

  init(_ value: Value) { self.value = value }
}
