import RoostCausality
import RoostCluster
public import RoostStorage

/// A flag that is off until it is enabled, switched at any replica: where enabling races disabling,
/// enabling wins.
public struct FlagHandle<Key: ByteKey & Sendable>: Sendable {
  let place: StatePlace<Key>

  /// Whether it is on; `false` where the key is absent.
  ///
  /// - Throws: `.wrongKind`, and as ``Keyspace/get(_:)``.
  public func isEnabled() async throws -> Bool { try await place.read(EnableWinsFlag.self).isEnabled }

  /// Switches it on. Where it is on already that is confirmed: a racing switch to off leaves it on.
  ///
  /// - Throws: `.wrongKind`, and as ``Keyspace/put(_:_:context:timeToLive:_:)``.
  public func enable(_ durability: Durability? = nil) async throws {
    try await place.change(.enable, durability)
  }

  /// Switches it off. Where it is off nothing is written.
  ///
  /// - Throws: as ``enable(_:)``.
  public func disable(_ durability: Durability? = nil) async throws {
    try await place.change(.disable, durability)
  }
}
