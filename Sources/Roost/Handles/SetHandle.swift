import RoostCausality
import RoostCluster
public import RoostStorage

/// A set of byte strings, changed at any replica: where an insertion races a removal, the insertion
/// wins.
public struct SetHandle<Key: ByteKey & Sendable>: Sendable {
  let place: StatePlace<Key>

  /// All elements, ascending bytewise; none where the key is absent.
  ///
  /// - Throws: `.wrongKind`, and as ``Keyspace/get(_:)``.
  public func elements() async throws -> [[UInt8]] { try await place.read(ORSet.self).values }

  /// All elements as text, ascending bytewise; bytes that are not UTF-8 show as U+FFFD.
  ///
  /// - Throws: as ``elements()``.
  public func texts() async throws -> [String] {
    try await place.read(ORSet.self).values.map { String(decoding: $0, as: UTF8.self) }
  }

  /// - Throws: as ``elements()``.
  public func contains(_ element: some ByteValue) async throws -> Bool {
    let set = try await place.read(ORSet.self)
    return set.contains(bytes(of: element))
  }

  /// How many elements there are.
  ///
  /// - Throws: as ``elements()``.
  public func count() async throws -> Int { try await place.read(ORSet.self).count }

  /// Inserts elements in one write. One that is in already is confirmed: racing removals leave it.
  ///
  /// - Throws: `.wrongKind`, and as ``Keyspace/put(_:_:context:timeToLive:_:)``.
  /// - Complexity: reads and writes the whole set.
  public func insert<Element: ByteValue & Sendable>(
    _ elements: Element..., durability: Durability? = nil
  ) async throws {
    try await insert(contentsOf: elements, durability: durability)
  }

  /// Inserts elements in one write; as ``insert(_:durability:)``. No elements are no write.
  public func insert(
    contentsOf elements: [some ByteValue & Sendable], durability: Durability? = nil
  ) async throws {
    let values = elements.map { bytes(of: $0) }
    try await place.change(.insert(values), durability)
  }

  /// Removes elements in one write: those insertions of them that are seen here.
  ///
  /// - Returns: how many of them were in. Where none was, nothing is written.
  /// - Throws: as ``insert(_:durability:)``.
  @discardableResult
  public func remove<Element: ByteValue & Sendable>(
    _ elements: Element..., durability: Durability? = nil
  ) async throws -> Int {
    try await remove(contentsOf: elements, durability: durability)
  }

  /// Removes elements in one write; as ``remove(_:durability:)``.
  @discardableResult
  public func remove(
    contentsOf elements: [some ByteValue & Sendable], durability: Durability? = nil
  ) async throws -> Int {
    let values = elements.map { bytes(of: $0) }
    return try await place.change(.remove(values), durability)
  }

  /// Removes all elements that are seen here.
  ///
  /// - Throws: as ``insert(_:durability:)``.
  public func removeAll(_ durability: Durability? = nil) async throws {
    try await place.change(.removeAll, durability)
  }
}

/// A copy of a value's bytes.
func bytes(of value: some ByteValue) -> [UInt8] { value.withValueBytes { [UInt8](copying: $0) } }
