import RoostEnvironment
import SystemPackage

extension LogInspection {
  /// Reads a log file's header alone.
  ///
  /// - Throws: `.corruption` where it is damaged, `.missingFile`, `.newerFormat`, `.io`.
  package static func header(
    _ fileSystem: any FileSystem, _ path: FilePath
  ) throws(StoreError) -> Header {
    let reader = try LogReader(fileSystem, path)
    let header = reader.header
    return Header(
      purpose: header.purpose.rawValue, number: header.number, salt: header.salt,
      identity: header.identity, byteCount: Int64(reader.byteCount))
  }
}
