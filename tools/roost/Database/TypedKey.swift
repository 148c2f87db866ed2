import ArgumentParser
import Roost
import RoostCausality
import RoostCluster
import RoostNetwork
import RoostStorage

// A key with a typed value as a command sees it, wherever it is: in a directory, or in a cluster.

/// What a typed command does to its key.
enum TypedWrite {
  case change(StateChange.Kind)
  /// Counts; with an operation once, however often it is tried.
  case count(Int64, OperationID?)
}

/// What all commands on typed values take.
struct TypedOptions: ParsableArguments {
  @Argument(help: "The store's directory; left out with --connect.", completion: .directory)
  var directory: String
  @Argument(help: "The key, 1 to 65,533 bytes.") var key: String?
  @OptionGroup var keyspace: KeyspaceOption
  @Flag(help: "Return once the write would survive power loss.") var sync = false
  @OptionGroup var bytes: BytesOptions
  @OptionGroup(title: "Clusters") var place: PlaceOptions

  /// All words of a command, with those behind the key.
  func words(_ more: [String] = []) -> [String] { [directory] + (key.map { [$0] } ?? []) + more }

  /// The key of a command that reads it.
  ///
  /// - Parameters:
  ///   - text: as it was written.
  ///   - directory: where it is; `nil` for the cluster that is named.
  /// - Throws: ``Failure`` where it is no bytes.
  func key(_ text: String, _ directory: String?) throws -> TypedKey {
    TypedKey(try bytes.bytes(text, "key"), self, directory)
  }

  /// The key of a command that writes it.
  ///
  /// - Throws: ``Failure`` where it is no key.
  func writtenKey(_ text: String, _ directory: String?) throws -> TypedKey {
    let key = try key(text, directory)
    if key.bytes.isEmpty { throw Failure.usage("a key must have at least one byte") }
    return key
  }
}

/// A key of a keyspace, in a directory's database or in a cluster, and its typed value.
struct TypedKey {
  let bytes: [UInt8]
  private let options: TypedOptions
  /// `nil` for a cluster.
  private let directory: String?

  init(_ bytes: [UInt8], _ options: TypedOptions, _ directory: String?) {
    self.bytes = bytes
    self.options = options
    self.directory = directory
  }

  /// Writes, and waits for the disk where asked to. A directory's database and keyspace are made where they
  /// are missing, not those of a cluster.
  ///
  /// - Throws: ``Failure``, ``DatabaseError``, ``TransportError``.
  func write(_ write: TypedWrite) async throws {
    guard let directory else {
      let request = request(write)
      _ = try await options.place.withKeys { try await $0.key(request) }
      return
    }
    try change(in: directory) { try $0.perform(write, $1) }
  }

  /// The same, and what the key holds then.
  ///
  /// - Throws: also ``DatabaseError`` with `.wrongKind` where it holds something else.
  func write<State: MergeableState>(_ write: TypedWrite, reading type: State.Type) async throws -> State {
    guard let directory else {
      let (asked, read) = (request(write), request(.get))
      return try await options.place.withKeys { keys in
        _ = try await keys.key(asked)
        return try await keys.state(read, type)
      }
    }
    return try change(in: directory) { keyspace, key in
      try keyspace.perform(write, key)
      return try keyspace.state(key, type)
    }
  }

  /// What the key holds; empty where it is absent.
  ///
  /// - Throws: as ``write(_:reading:)``.
  func state<State: MergeableState>(_ type: State.Type) async throws -> State {
    guard let directory else {
      let request = request(.get)
      return try await options.place.withKeys { try await $0.state(request, type) }
    }
    return try withDatabase(directory) { database in
      let keyspace = try database.keyspace(options.keyspace.keyspace, nil)
      return try bytes.withKeyBytes { try keyspace.state($0, type) }
    }
  }

  private func request(_ operation: KeyRequest.Operation, sync: Bool = false) -> KeyRequest {
    options.place.request(operation, bytes, in: options.keyspace, sync: sync)
  }

  private func request(_ write: TypedWrite) -> KeyRequest {
    let operation: KeyRequest.Operation =
      switch write {
      case .change(let kind): .change(StateChange(kind))
      case .count(let amount, nil): .increment(amount)
      case .count(let amount, let operation?): .countOnce(amount, operation, field: nil)
      }
    return request(operation, sync: options.sync)
  }

  /// Runs `body` with the keyspace and the key, then waits for the disk where asked to.
  private func change<R>(in directory: String, _ body: (KeyspaceCore, RawSpan) throws -> R) throws -> R {
    try withDatabase(directory, creates: true) { database in
      let keyspace = try database.madeKeyspace(options.keyspace)
      return try bytes.withKeyBytes { key in
        let result = try body(keyspace, key)
        if options.sync { try keyspace.sync(key) }
        return result
      }
    }
  }
}

extension KeyspaceCore {
  fileprivate func perform(_ write: TypedWrite, _ key: RawSpan) throws {
    switch write {
    case .change(let kind): _ = try apply(StateChange(kind), to: key)
    case .count(let amount, nil): _ = try apply(StateChange(.increment(amount)), to: key)
    case .count(let amount, let operation?): try increment(key, by: amount, operation: operation)
    }
  }
}
