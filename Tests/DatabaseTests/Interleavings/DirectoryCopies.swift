import RoostEnvironment
import RoostStorage
import SystemPackage
import TestSupport

// Directories copied and replaced, as people do it who know nothing of what is in them.

/// Copies a store's directory, its marker first: so where a file system gives numbers out again, the
/// copy's marker is the first to get one.
func copyDirectory(_ from: String, _ to: String, _ fileSystem: any FileSystem) throws {
  let source = FilePath(from)
  let target = FilePath(to)
  var parent = FilePath("/")
  for component in target.components {
    parent.append(component)
    if try fileSystem.info(of: parent) == nil { try fileSystem.createDirectory(parent) }
  }
  for name in try markerFirst(source, fileSystem) {
    try fileSystem.writeWhole(
      target.appending(name), try fileSystem.readWhole(source.appending(name)), synced: true)
  }
  try fileSystem.sync(directory: target)
}

/// Removes all files of a store's directory, its marker last.
func emptyDirectory(_ path: String, _ fileSystem: any FileSystem) throws {
  let directory = FilePath(path)
  for name in try markerFirst(directory, fileSystem).reversed() {
    try fileSystem.remove(directory.appending(name))
  }
}

private func markerFirst(_ directory: FilePath, _ fileSystem: any FileSystem) throws -> [String] {
  try fileSystem.entries(of: directory).sorted {
    ($0 != "CURRENT" ? 1 : 0, $0) < ($1 != "CURRENT" ? 1 : 0, $1)
  }
}
