import Synchronization

/// A fixed row of slots for objects that are added while others read, without a lock.
///
/// An object stays alive as long as the row, taken out or not: so a reader may follow what it
/// loaded without a retain. There are few of them (a database's stores), so what stays costs little.
///
/// Thread-safe. Those who change slots take turns (by a lock of theirs).
@safe
final class PublishedSlots<Object: AnyObject>: @unchecked Sendable {
  private let slots: UnsafeMutablePointer<Atomic<UInt>>
  let capacity: Int
  /// Keeps alive all that was ever published. Touched only by those who change slots.
  private var owned: [Object] = []

  init(capacity: Int) {
    self.capacity = capacity
    unsafe slots = .allocate(capacity: capacity)
    for index in 0..<capacity { unsafe (slots + index).initialize(to: Atomic(0)) }
  }

  deinit {
    unsafe slots.deinitialize(count: capacity)
    unsafe slots.deallocate()
  }

  /// The object in a slot, or `nil` where it is empty.
  @inline(__always)
  subscript(_ index: Int) -> Object? {
    precondition(index >= 0 && index < capacity)
    let bits = unsafe slots[index].load(ordering: .acquiring)
    guard let pointer = unsafe UnsafeRawPointer(bitPattern: bits) else { return nil }
    return unsafe Unmanaged<Object>.fromOpaque(pointer).takeUnretainedValue()
  }

  func publish(_ object: Object, at index: Int) {
    precondition(index >= 0 && index < capacity)
    owned.append(object)
    let bits = unsafe UInt(bitPattern: Unmanaged.passUnretained(object).toOpaque())
    unsafe slots[index].store(bits, ordering: .releasing)
  }

  /// Empties a slot. Those who loaded the object go on with it.
  func withdraw(_ index: Int) {
    precondition(index >= 0 && index < capacity)
    unsafe slots[index].store(0, ordering: .releasing)
  }
}
