import RoostEnvironment
import SystemPackage

/// What a store says of itself, without opening or locking it: as far as its manifest tells, which
/// its process may be writing just now.
package enum StoreInspection {
  /// The store's trees by id.
  ///
  /// - Returns: `nil` where the directory holds no store.
  /// - Throws: `.corruption`, `.newerFormat`, `.missingFile`, `.permissionDenied`, `.io`.
  package static func trees(
    in directory: String, _ fileSystem: any FileSystem
  ) throws(StoreError) -> [UInt64: String]? {
    try contents(in: directory, fileSystem)?.trees.mapValues(\.name)
  }

  /// The name of the tree that a table belongs to, by the manifest of the directory it lies in.
  package static func tree(
    ofTable number: UInt64, in directory: String, _ fileSystem: any FileSystem
  ) throws(StoreError) -> String? {
    guard let contents = try contents(in: directory, fileSystem) else { return nil }
    return contents.trees.values.first { tree in
      tree.levels.contains { $0.contains { $0.number == number } }
    }?.name
  }

  private static func contents(
    in directory: String, _ fileSystem: any FileSystem
  ) throws(StoreError) -> StoreContents? {
    guard try Store.markerInfo(in: directory, fileSystem) != nil else { return nil }
    let path = FilePath(directory)
    return try Manifest.read(Marker.read(in: path, fileSystem), in: path, fileSystem)
  }
}
