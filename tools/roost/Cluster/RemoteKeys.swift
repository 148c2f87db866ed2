import Roost
import RoostCausality
import RoostCluster
import RoostNetwork

// Keys of a cluster as the commands see them, asked of one of its nodes.

/// A client, and the session that its requests are of, where there is one.
struct RemoteKeys {
  let client: NetworkClient
  let session: DatabaseSession?
  /// For transactional keyspaces, and for many keys: one, since it learns which these keyspaces are, and how
  /// much a transaction may write.
  let cluster: ClusterClient

  init(client: NetworkClient, session: DatabaseSession?) {
    self.client = client
    self.session = session
    cluster = ClusterClient(client)
  }

  /// - Throws: as `NetworkClient.key`.
  func key(_ request: KeyRequest) async throws(DatabaseError) -> KeyAnswer {
    try await client.key(request, within: session)
  }

  /// The values of a record as its keyspace's policy shows them.
  ///
  /// A node answers with all that is there; which of several values counts, only the policy says, and the
  /// node is asked for it then.
  func visible(_ record: Record?, in keyspace: String) async throws -> [Sibling] {
    guard let record, record.siblings.elements.count > 1 else { return record?.siblings.elements ?? [] }
    let kind = try await client.status().keyspaces.first { $0.name == keyspace }?.kind
    return (kind ?? .keep).visible(record)
  }

  /// A key's typed state; empty where it is absent.
  ///
  /// - Throws: ``DatabaseError`` with `.wrongKind` where the key holds something else, and as `key`.
  func state<State: MergeableState>(_ request: KeyRequest, _ type: State.Type) async throws -> State {
    guard let record = try await key(request).record else { return State() }
    guard record.siblings.isEmpty, record.states.allSatisfy({ $0.kind == State.kind }) else {
      let other = record.states.first { $0.kind != State.kind }.map { "a \($0.kind)" }
      throw DatabaseError(.wrongKind, "the key holds \(other ?? "plain values"), not a \(State.kind)")
    }
    return record.state(as: type)
  }
}

extension KeyspacePolicy.Kind {
  /// The values of a record that count: what the tool knows of a policy without the program's own function.
  func visible(_ record: Record) -> [Sibling] {
    guard self == .lastWriterWins, let latest = record.siblings.latest else {
      return record.siblings.elements
    }
    return [latest]
  }
}

extension ClusterClient {
  /// Calls `body` with the entries of a transactional keyspace's range as of one moment, up to `limit` of
  /// them: page by page, each of which is what one message takes.
  func forEachVersion(
    in keyspace: String, _ range: KeyRange, limit: Int? = nil,
    _ body: ([(key: [UInt8], value: [UInt8])]) async throws -> Void
  ) async throws {
    let snapshot = try await self.snapshot()
    var next: [UInt8]? = range.lower ?? []
    var left = limit ?? .max
    while left > 0, let start = next {
      let page = try await snapshot.page(
        from: start, to: range.upper, limit: min(left, 1_000), in: keyspace)
      try await body(page.entries)
      left -= page.entries.count
      next = page.next
    }
  }
}

extension NetworkClient {
  /// Calls `body` with a page of the keys of a range after the other, until it has no more, or `limit` keys.
  ///
  /// Where it fails in between, it is said how to go on, unless the command cannot.
  ///
  /// - Parameter isResumable: whether the command takes --after.
  /// - Returns: where to go on behind the limit; `nil` at the end.
  func forEachPage(
    _ request: ScanRequest, limit: Int? = nil, isResumable: Bool = true,
    _ body: (ScanAnswer) async throws -> Void
  ) async throws -> ScanToken? {
    var request = request
    var left = limit ?? .max
    repeat {
      if left == 0 { break }
      request.limit = min(left, 512)
      let page: ScanAnswer
      do throws(DatabaseError) { page = try await scan(request) } catch {
        if isResumable, let token = request.token {
          Complaint.line("to go on after this: --after \(token.text)")
        }
        throw error
      }
      try await body(page)
      left -= page.entries.count
      request.token = page.token
    } while request.token != nil
    return request.token
  }
}
