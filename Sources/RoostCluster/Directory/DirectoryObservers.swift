import RoostEnvironment

/// Those who watch a directory. Thread-safe.
final class DirectoryObservers: @unchecked Sendable {
  private final class Observer {
    let prefix: String
    let call: @Sendable ([DirectoryRecord]) -> Void
    /// What it was told last; `nil` before the first call.
    var told: [DirectoryRecord]?

    init(_ prefix: String, _ call: @escaping @Sendable ([DirectoryRecord]) -> Void) {
      self.prefix = prefix
      self.call = call
    }
  }

  private let lock = Lock()
  // Guarded by `lock`.
  private var observers: [UInt64: Observer] = [:]
  private var nextNumber: UInt64 = 0
  private var isTelling = false
  private var mustTellAgain = false

  var isEmpty: Bool { lock.withLock { observers.isEmpty } }

  /// - Parameter whenEmpty: called when the last watch has ended.
  func add(
    prefix: String, _ call: @escaping @Sendable ([DirectoryRecord]) -> Void,
    whenEmpty: @escaping @Sendable () -> Void = {}
  ) -> DirectoryWatch {
    let number = lock.withLock {
      nextNumber += 1
      observers[nextNumber] = Observer(prefix, call)
      return nextNumber
    }
    return DirectoryWatch { [weak self] in
      guard let self else { return }
      let isLast = lock.withLock {
        observers.removeValue(forKey: number) != nil && observers.isEmpty
      }
      if isLast { whenEmpty() }
    }
  }

  /// Tells everyone whose records are others by now.
  ///
  /// One call tells at a time, so that none is told of two states in the wrong order; one that comes
  /// meanwhile has the one under way look once more.
  ///
  /// - Parameter read: the records under a prefix, as they are now; `nil` where they cannot be read.
  func tell(_ read: (String) -> [DirectoryRecord]?) {
    let mayTell = lock.withLock {
      mustTellAgain = true
      defer { isTelling = true }
      return !isTelling
    }
    guard mayTell else { return }
    while true {
      let waiting = lock.withLock { () -> [(UInt64, Observer)]? in
        guard mustTellAgain else {
          isTelling = false
          return nil
        }
        mustTellAgain = false
        return observers.sorted { $0.key < $1.key }
      }
      guard let waiting else { return }
      for (number, observer) in waiting {
        guard let records = read(observer.prefix) else { continue }
        let mustCall = lock.withLock {
          guard observers[number] === observer, observer.told != records else { return false }
          observer.told = records
          return true
        }
        if mustCall { observer.call(records) }
      }
    }
  }
}
