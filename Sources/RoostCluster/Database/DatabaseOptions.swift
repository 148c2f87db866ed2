public import RoostStorage

/// How a database is opened, and the resources it may use.
public struct DatabaseOptions: Sendable {
  /// How a store takes part in the ring. Used when it becomes a member; later changes go through
  /// the database's own calls.
  public struct Member: Sendable, Equatable {
    /// Its share of the partitions, beside the others': 1 to 1000.
    public var weight: Int
    /// What fails together: replicas of a partition go to distinct zones where possible. Empty for
    /// none.
    public var zone: String

    public init(weight: Int = 100, zone: String = "") {
      self.weight = weight
      self.zone = zone
    }
  }

  /// What to do about the directories.
  public var creation: StoreOptions.Creation = .createIfMissing

  /// The durability of a write that names none. `.applied` survives the process, `.synced` the
  /// machine.
  public var durability: Durability = .applied

  /// How many partitions a new database has, for good: 1 to 32,768. At least 64 times the largest
  /// number of members that it will ever have keeps their shares within 2% of each other; each
  /// partition costs a cursor in a scan over all keys. `nil`: 256, or 128 a store, rounded up to a
  /// power of two, where that is more.
  public var partitionCount: Int?

  /// How many stores of a new database hold each partition: 1 to 16. A keyspace has as many, unless it asks
  /// for fewer (``KeyspacePolicy/eventual(_:replicas:readQuorum:writeQuorum:)``).
  public var replicas = 1

  /// Weight and zone by directory, as given to `open`.
  public var members: [String: Member] = [:]

  /// Open the other stores of the database too: in the directory that is on record, where the given
  /// one is where it was last, or beside it under the same name. So one directory is enough to name a
  /// database, and a copy of one never leads to the original.
  public var opensKnownStores = false

  /// Open with some stores missing. Partitions that none of the others holds are out of reach:
  /// calls on their keys throw `.unreachable`. The ring cannot be changed meanwhile.
  public var allowsMissingStores = false

  /// How each store is opened. `creation` and `durability` are taken from here, not from there.
  public var store = StoreOptions()

  /// Bytes of memory in which all keyspaces together remember what was put lately, where the last writer
  /// wins and keys are on one store: a put of a key that is remembered does not look what it replaces. Taken
  /// as keys are put, some 30 bytes and the key's own for each; 0 for none.
  public var recentPutBytes = 64 << 20

  /// Bytes a second that moving partitions between stores may take. `nil` for no limit.
  public var transferBytesPerSecond: Int? = 64 << 20

  /// How far the clocks of two databases that exchange states may be apart. A state from further in
  /// the future is refused; four seconds are allowed beside, by which a database that was killed may
  /// be ahead of its own clock when it is opened again.
  public var maximumClockOffset: Duration = .milliseconds(500)

  /// Whether the store is one node's of a cluster: its partitions move between processes, by the cluster's
  /// directory.
  package var isNodeOfCluster = false

  /// How transactions run.
  public var transactions = TransactionOptions()

  /// Whether stores go on as the incarnations that they were, whatever they have lost: a broken rule, for
  /// simulations that show what it does. Read as stores are opened.
  package var keepsIncarnations = false

  /// Told what whoever runs the process should know: an operator's decision of a transaction, a clock
  /// near its bound, an effect that cannot be done. Called from any thread, and must not wait.
  public var warn: @Sendable (String) -> Void = { _ in }

  public init() {}

  /// - Throws: `.invalidOption` naming the first option outside its limits.
  package func validate() throws(DatabaseError) {
    func check(_ ok: Bool, _ text: @autoclosure () -> String) throws(DatabaseError) {
      if !ok { throw DatabaseError(.invalidOption, text()) }
    }
    if let partitionCount {
      try check(
        partitionCount >= 1 && partitionCount <= 32_768,
        "partitionCount is \(partitionCount), must be 1 to 32768")
    }
    try check(replicas >= 1 && replicas <= 16, "replicas is \(replicas), must be 1 to 16")
    try check(
      recentPutBytes >= 0 && recentPutBytes <= 64 << 30,
      "recentPutBytes is \(recentPutBytes), must be 0 to 64 GiB")
    if let transferBytesPerSecond {
      try check(
        transferBytesPerSecond >= 1_024,
        "transferBytesPerSecond is \(transferBytesPerSecond), must be at least 1024")
    }
    for (directory, member) in members {
      try check(
        member.weight >= 1 && member.weight <= 1_000,
        "the weight of \(directory) is \(member.weight), must be 1 to 1000")
    }
    try check(
      maximumClockOffset >= .zero && maximumClockOffset <= .seconds(86_400),
      "maximumClockOffset is \(maximumClockOffset), must be 0 to one day")
    try transactions.validate()
    do throws(StoreError) { try store.validate() } catch {
      throw DatabaseError(.invalidOption, "store: \(error.message)", cause: error)
    }
  }

  func partitionCount(stores: Int) -> Int {
    if let partitionCount { return partitionCount }
    var count = 256
    while count < 128 * stores, count < 32_768 { count *= 2 }
    return count
  }
}
