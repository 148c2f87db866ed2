import RoostEnvironment
import SystemPackage

extension SimulatedFileSystem {
  /// The disk as a power loss at this moment may leave it. Nothing is open or locked on it, and all
  /// it holds is synced; faults, hook and trace are not taken over, capacity and limits are.
  ///
  /// - Parameter seed: decides what `.random` keeps.
  /// - Complexity: O(files + bytes of the files that have unsynced bytes or are mapped).
  public func crashClone(_ policy: CrashPolicy = .random, seed: UInt64 = 0) -> SimulatedFileSystem {
    lock.withLock {
      var random = SplitMix64(seed: seed)
      var durable = DurableEntries()
      for change in surviving(policy, &random) { durable.apply(change) }
      let clone = Cloner(nextNumber: nextNumber, changeCount: changeCount, settings)
      clone.addEntries(of: root, to: clone.fileSystem.root, entries: { durable[$0] }) { file in
        // What a crash may have taken back is another file than the one that was seen before it.
        (file.content.crashed(policy, &random), file.content.isSynced)
      }
      return clone.fileSystem
    }
  }

  private func surviving(
    _ policy: CrashPolicy, _ random: inout SplitMix64
  ) -> [DirectoryChange] {
    switch policy {
    case .dropAll: return []
    case .keepAll: return unsyncedChanges
    case .random:
      if random.below(2) == 0 {
        return Array(unsyncedChanges.prefix(random.below(unsyncedChanges.count + 1)))
      }
      return unsyncedChanges.filter { _ in random.below(2) == 0 }
    }
  }

  /// What another process sees after this one was killed at this moment: every write is there, and
  /// what was unsynced still is. Nothing is open or locked.
  ///
  /// - Complexity: O(files + bytes of the files that are mapped).
  public func processKillClone() -> SimulatedFileSystem {
    lock.withLock {
      let clone = Cloner(nextNumber: nextNumber, changeCount: changeCount, settings)
      clone.addEntries(of: root, to: clone.fileSystem.root, entries: { $0.entries }) { file in
        (file.content.copy(), true)
      }
      clone.addDurable(of: root)
      clone.fileSystem.unsyncedChanges = unsyncedChanges.map { change in
        switch change {
        case .create(let directory, let name, let node):
          .create(clone.directory(directory), name, clone.node(node))
        case .remove(let directory, let name, let node):
          .remove(clone.directory(directory), name, clone.node(node))
        case .rename(let from, let old, let to, let new, let node):
          .rename(clone.directory(from), old, clone.directory(to), new, clone.node(node))
        }
      }
      return clone.fileSystem
    }
  }
}

/// Makes one clone: a new node for each node that it meets.
private final class Cloner {
  let fileSystem: SimulatedFileSystem
  private var copies: [ObjectIdentifier: Node] = [:]

  init(nextNumber: UInt64, changeCount: Int64, _ settings: SimulatedFileSystem.Settings) {
    fileSystem = SimulatedFileSystem(
      root: DirectoryNode(number: 1, changed: changeCount), nextNumber: nextNumber,
      changeCount: changeCount)
    fileSystem.settings = settings
  }

  /// Copies what a directory holds, in the order of the names, so that random draws come in the
  /// same order each time.
  func addEntries(
    of source: DirectoryNode, to copy: DirectoryNode,
    entries: (DirectoryNode) -> [String: Node],
    content: (FileNode) -> (FileContent, keepsChangeTime: Bool)
  ) {
    copies[ObjectIdentifier(source)] = copy
    for (name, node) in entries(source).sorted(by: { $0.key < $1.key }) {
      if let directory = node as? DirectoryNode {
        let new = DirectoryNode(number: directory.number, changed: directory.changed)
        copy.entries[name] = new
        addEntries(of: directory, to: new, entries: entries, content: content)
      } else if let file = node as? FileNode {
        let new = self.file(file, content)
        copy.entries[name] = new
        fileSystem.adopt(new)
      }
    }
    copy.durable = copy.entries
  }

  /// Copies which entries survive a power loss, for all directories that are named now or survive.
  func addDurable(of source: DirectoryNode) {
    let copy = directory(source)
    copy.durable = source.durable.mapValues { node($0) }
    for case let child as DirectoryNode in source.entries.values where child !== source {
      addDurable(of: child)
    }
  }

  func directory(_ source: DirectoryNode) -> DirectoryNode {
    if let copy = copies[ObjectIdentifier(source)] as? DirectoryNode { return copy }
    // It has a name no more, or only on disk.
    let copy = DirectoryNode(number: source.number, changed: source.changed)
    copies[ObjectIdentifier(source)] = copy
    copy.durable = source.durable.mapValues { node($0) }
    return copy
  }

  func node(_ source: Node) -> Node {
    if let directory = source as? DirectoryNode { return self.directory(directory) }
    return file(source as! FileNode) { ($0.content.copy(), true) }
  }

  private func file(
    _ source: FileNode, _ content: (FileNode) -> (FileContent, keepsChangeTime: Bool)
  ) -> FileNode {
    if let copy = copies[ObjectIdentifier(source)] as? FileNode { return copy }
    let copy = FileNode(number: source.number, changed: source.changed)
    let (bytes, keepsChangeTime) = content(source)
    copy.content = bytes
    if !keepsChangeTime { fileSystem.noteChange(of: copy) }
    copy.reserved = max(source.reserved, copy.roundUp(copy.content.size))
    copies[ObjectIdentifier(source)] = copy
    return copy
  }
}
