/// Keys of plain values that live for a moment: written, read, replaced, deleted and left alone, so that
/// their tombstones become old enough to be reaped. Used by one thread.
final class BriefKeys {
  private static let mostAtATime = 6

  private unowned let world: SimulatedWorld
  /// With what was seen of each last, by whichever client.
  private var known: [(key: String, context: SimulatedContext?)] = []
  private var count = 0

  init(_ world: SimulatedWorld) { self.world = world }

  /// What a client asks for next.
  ///
  /// - Parameter value: of a put; not used twice.
  func chosenCall(_ value: @autoclosure () -> String) -> AskedCall {
    guard !known.isEmpty, world.below(4) > 0 else {
      count += 1
      let key = "brief\(count)"
      known.append((key, nil))
      if known.count > Self.mostAtATime { known.removeFirst() }
      return .put(key, value(), nil)
    }
    let (key, context) = known[world.below(known.count)]
    guard let context else { return .get(key) }
    switch world.below(4) {
    case 0: return .get(key)
    case 1: return .put(key, value(), context)
    default: return .delete(key, context)
    }
  }

  /// A client has read a key, or has written it.
  func saw(_ key: String, _ context: SimulatedContext) {
    if let place = known.firstIndex(where: { $0.key == key }) { known[place].context = context }
  }
}
