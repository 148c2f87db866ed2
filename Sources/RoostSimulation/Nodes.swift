/// A file or a directory of the simulated file system. Guarded by the file system's lock.
class Node {
  /// Counts up as nodes are made, so it also orders them.
  let number: UInt64
  /// When it was last changed, on the file system's count of changes: no two changes have the same.
  var changed: Int64
  init(number: UInt64, changed: Int64) {
    self.number = number
    self.changed = changed
  }
}

final class FileNode: Node {
  var content = FileContent()
  /// How many bytes of disk space the file has.
  var reserved = 0
  /// Names, open files and mappings; space is given back when nothing refers to it.
  var references = 0

  func roundUp(_ byteCount: Int) -> Int { (byteCount + 4095) / 4096 * 4096 }
}

final class DirectoryNode: Node {
  /// What callers see.
  var entries: [String: Node] = [:]
  /// What a power loss leaves.
  var durable: [String: Node] = [:]
}

/// A change to one directory, or two, that is not synced yet.
enum DirectoryChange {
  case create(DirectoryNode, String, Node)
  case remove(DirectoryNode, String, Node)
  case rename(DirectoryNode, String, DirectoryNode, String, Node)

  func concerns(_ directory: DirectoryNode) -> Bool {
    switch self {
    case .create(let d, _, _), .remove(let d, _, _): d === directory
    case .rename(let a, _, let b, _, _): a === directory || b === directory
    }
  }
}

/// The entries of directories while a sync or a crash decides what is durable.
struct DurableEntries {
  private var entries: [ObjectIdentifier: [String: Node]] = [:]
  private var order: [DirectoryNode] = []

  subscript(directory: DirectoryNode) -> [String: Node] {
    get { entries[ObjectIdentifier(directory)] ?? directory.durable }
    set {
      if entries.updateValue(newValue, forKey: ObjectIdentifier(directory)) == nil {
        order.append(directory)
      }
    }
  }

  /// Applies one change, whether or not those before it were: a name that a dropped change should
  /// have made or taken away is not there to be removed, or is replaced.
  mutating func apply(_ change: DirectoryChange) {
    switch change {
    case .create(let directory, let name, let node):
      self[directory][name] = node
    case .remove(let directory, let name, let node):
      if self[directory][name] === node { self[directory][name] = nil }
    case .rename(let from, let old, let to, let new, let node):
      if self[from][old] === node {
        self[from][old] = nil
      } else {
        // An earlier rename was dropped, so the file still has an older name: it must not get two.
        for directory in order {
          for (name, other) in self[directory] where other === node { self[directory][name] = nil }
        }
        for (name, other) in self[from] where other === node { self[from][name] = nil }
      }
      self[to][new] = node
    }
  }

  /// Makes the outcome what survives.
  func store() {
    for directory in order { directory.durable = entries[ObjectIdentifier(directory)]! }
  }
}
