public import RoostCausality
import RoostCluster
public import RoostStorage

/// A map of named fields, each a counter, a register, a flag or a set; changed at any replica.
///
/// ```swift
/// let user = posts.map("user:1")
/// try await user.counter("visits").increment()
/// try await user.register("name").assign("Ada")
/// try await user.set("tags").insert("swift")
/// ```
///
/// A field is its name and its kind: a counter and a set may have one name. Where a change of a field
/// races its removal, the change stays (a counter's with all that its store has counted).
public struct MapHandle<Key: ByteKey & Sendable>: Sendable {
  let keyspace: Keyspace
  public let key: Key

  /// The field as a counter that goes up and down.
  public func counter(_ field: some ByteKey) -> CounterHandle<Key> {
    CounterHandle(place: place(field))
  }

  /// The field as a counter that only goes up.
  public func growOnlyCounter(_ field: some ByteKey) -> GrowOnlyCounterHandle<Key> {
    GrowOnlyCounterHandle(place: place(field))
  }

  /// The field as a register.
  public func register(_ field: some ByteKey) -> RegisterHandle<Key> {
    RegisterHandle(place: place(field))
  }

  /// The field as a flag.
  public func flag(_ field: some ByteKey) -> FlagHandle<Key> { FlagHandle(place: place(field)) }

  /// The field as a set.
  public func set(_ field: some ByteKey) -> SetHandle<Key> { SetHandle(place: place(field)) }

  private func place(_ field: some ByteKey) -> StatePlace<Key> {
    StatePlace(
      keyspace: keyspace, key: key, field: field.withKeyBytes { [UInt8](copying: $0) })
  }

  /// All fields as of one moment, ascending by name, then kind; none where the key is absent.
  ///
  /// - Throws: `.wrongKind`; `.counterOverflow`, which names the field; and as ``Keyspace/get(_:)``.
  public func fields() async throws -> [MapField] {
    let map = try await StatePlace(keyspace: keyspace, key: key).readWhole(ORMap.self)
    return try map.fields.map(MapField.init)
  }

  /// Removes a field: of all kinds, or of the one given.
  ///
  /// - Returns: whether it was there. Where not, nothing is written.
  /// - Throws: `.wrongKind`, and as ``Keyspace/put(_:_:context:timeToLive:_:)``.
  @discardableResult
  public func remove(
    _ field: some ByteKey, kind: RecordKind? = nil, _ durability: Durability? = nil
  ) async throws -> Bool {
    try await place(field).change(.removeField(kind), durability) > 0
  }
}

/// A field of a map as a read found it. A plain value.
public struct MapField: Sendable, Equatable {
  /// What a field holds.
  public enum Value: Sendable, Equatable {
    case counter(Int64)
    case growOnlyCounter(UInt64)
    case register([UInt8])
    case flag(Bool)
    case set([[UInt8]])
  }

  public let name: [UInt8]
  public let value: Value

  /// The name as text; bytes that are not UTF-8 show as U+FFFD.
  public var text: String { String(decoding: name, as: UTF8.self) }

  init(_ field: ORMap.Field) throws(DatabaseError) {
    name = field.name
    do throws(CausalityError) {
      value =
        switch field.state {
        case .counter(let counter): .counter(try counter.value())
        case .gCounter(let counter): .growOnlyCounter(try counter.value())
        case .register(let register): .register(register.value ?? [])
        case .flag(let flag): .flag(flag.isEnabled)
        case .set(let set): .set(set.values)
        case .map: throw CausalityError(.damaged, "a map within a map")
        }
    } catch {
      let wrapped = DatabaseError(error)
      let name = String(decoding: field.name, as: UTF8.self)
      throw DatabaseError(wrapped.code, "the field `\(name)`: \(wrapped.message)")
    }
  }
}
