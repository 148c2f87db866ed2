extension Environment {
  /// The real world: the operating system's files, clocks and threads.
  ///
  /// - Parameter backgroundThreads: threads a store for compactions and clean-up, beside the one
  ///   for urgent work.
  public static func posix(backgroundThreads: Int = 1) -> Environment {
    Environment(
      fileSystem: POSIXFileSystem(), time: POSIXTime(), randomness: SystemRandomness(),
      makeWorkers: { ThreadWorkers(backgroundThreads: backgroundThreads) })
  }
}
