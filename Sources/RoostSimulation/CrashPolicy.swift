/// What a power loss leaves of what was not synced.
///
/// Synced bytes of a file survive under each policy, provided that the file's name does.
public enum CrashPolicy: Sendable, Hashable, CaseIterable {
  /// Nothing: every file and every directory is as it was last synced.
  case dropAll
  /// Everything, except what a failed sync lost.
  case keepAll
  /// Anything that a disk and its file system may do:
  ///
  /// - Each unsynced 512-byte sector of a file is kept, dropped, or torn at some byte (new bytes
  ///   before it, old bytes behind). A file draws first whether all its sectors are kept, all
  ///   dropped, kept up to a torn one, or each by itself.
  /// - An unsynced change of a file's size ends at either size or anywhere between.
  /// - Of the unsynced changes of directories, a clone keeps either the first few (as a
  ///   journal does) or each by itself (as none promises not to). A rename is one change: its file
  ///   is under the old name or under the new one, and what it replaced is there until it is not.
  case random
}
