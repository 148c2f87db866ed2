/// State of which every live part carries the dot of the write that made it, and which is joined
/// together with what each side has seen (Almeida, Shoker, Baquero: Delta State Replicated Data Types,
/// 2018).
///
/// The one rule of all of them: a part that only one side has survives if and only if the other side
/// has not seen its dot. What was seen and is not there was removed.
///
/// A store means something only beside the version vector of what was seen, which contains each of its
/// dots: in a ``Record`` or a ``Causal``. Plain values.
public protocol DotStore: Hashable, Sendable {
  /// Without any part.
  init()

  /// Whether no part is live.
  var isEmpty: Bool { get }

  /// Becomes the least state at or above both.
  ///
  /// - Parameters:
  ///   - other: the other side's state.
  ///   - own: all that this side has seen, before the join.
  ///   - context: all that the other side has seen.
  /// - Complexity: O(n) of the sizes of both.
  mutating func join(_ other: Self, own: VersionVector, other context: VersionVector)

  /// Drops every part whose dot `vector` contains: what was seen goes, what was not stays.
  mutating func remove(seenBy vector: VersionVector)

  /// Whether this has every part of `other` of which `own` has seen the dot: that `other` holds nothing
  /// which was seen here and removed.
  func containsParts(of other: Self, seenBy own: VersionVector) -> Bool

  /// Calls `body` with each part's dot; with the same one again where a write made several parts.
  func forEachDot(_ body: (Dot) -> Void)
}

/// A dot store that stands in a record as a state of its own.
public protocol MergeableState: DotStore {
  static var kind: RecordKind { get }

  /// The state in `state`, or `nil` where that is of another kind.
  init?(_ state: RecordState)

  /// This as a record holds it.
  var recordState: RecordState { get }
}

/// A state that may be a field of a map: any but a map.
public protocol FieldState: MergeableState {}
