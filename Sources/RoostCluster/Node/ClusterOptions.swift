/// How a node takes part in its cluster.
public struct ClusterOptions: Sendable {
  /// 1 to 255 bytes; the nodes of a cluster say the same.
  public var cluster: String
  /// Of a cluster that is yet to be founded: how many nodes it waits for before it makes the ring of them.
  /// All say the same.
  public var foundingNodes = 3
  /// Of a cluster that is yet to be founded: how many nodes hold each partition, 1 to 16; `nil` for three, or
  /// as many as found it where those are fewer. All say the same.
  public var replicas: Int?
  /// This node's share of the partitions beside the others': 1 to 1000. Of its founding.
  public var weight = 100
  /// What fails together with this node: replicas go to distinct zones where possible. Of its founding.
  public var zone = ""
  /// Whether the node asks to be taken into a cluster that was founded without it. It waits until an operator
  /// has admitted it; then partitions move there.
  public var joins = false
  /// How long a call waits for the other founders, or to be admitted; `nil` without end.
  public var foundingTimeout: Duration? = .seconds(60)
  /// How long a replica may take to answer before the write goes to another store as a hint. At most half of
  /// what is left of the request, so that the other store can still answer: a caller's own time counts, too.
  public var replicaTimeout: Duration = .seconds(1)
  /// After how long a read asks one replica more.
  public var impatience: Duration = .milliseconds(50)
  /// How long a call of a client may take that says nothing else.
  public var requestTimeout: Duration = .seconds(5)
  /// Requests of clients under way at a time; more are refused with `.busy`.
  public var requestLimit = 4_096
  /// How long the directory keeps a node that no longer says where it is.
  public var lease: Duration = .seconds(10)
  /// Bytes a second in which the node hands hints over: 1 KiB to 1 TiB. Eight times Cassandra's default: the
  /// gibibyte that is kept at most takes about two minutes, and a store that is back serves beside it. After
  /// a pause an eighth of it goes at once, 4 KiB at least, as of the other two rates.
  public var hintBytesPerSecond = 8 << 20
  /// Bytes a second in which the node is brought partitions that move there, those of transactional keyspaces
  /// among them, and compares those that have moved away: 1 KiB to 1 TiB. What is fetched while transactions
  /// wait for it, a few keys, goes at once.
  public var moveBytesPerSecond = 16 << 20
  /// In which time each partition is compared once with its other replicas, by hash trees: one minute to a
  /// year, or `nil` for never. One partition at a time, spread evenly. It reads the leaves that writes keep,
  /// some kilobytes a partition, and the records only of partitions in which something differs.
  public var repairInterval: Duration? = .seconds(3_600)
  /// About every how manieth of these comparisons reads all records of its partition, here and at the other
  /// replica, and checks the kept leaves by them: 1 (each) to 1,000,000. Which ones, chance decides.
  public var fullRepairEvery = 24
  /// Bytes a second that these comparisons send and receive, of what differs mostly: 1 KiB to 1 TiB. Those
  /// that are asked for (`roost cluster repair`) go as fast as they can.
  public var repairBytesPerSecond = 4 << 20
  /// How long another node may take to hash a partition.
  public var repairTimeout: Duration = .seconds(60)
  /// How old a deleted key's tombstone becomes before it is reaped: deleted for good, at all replicas at
  /// once, if all are there and agree. `nil` for never. Longer than hints are kept (three hours), messages
  /// live and clocks differ, up to ten years; all nodes say the same. A store that goes back to an older
  /// state (a restored backup) is refused from then on.
  public var tombstoneHorizon: Duration?

  /// How old a hint may become.
  package var hintAge: Duration = .seconds(3 * 3_600)
  /// Bytes of hints that may wait in memory to be kept here; more are refused.
  package var waitingHintBytes = HintStore.Limits().waitingBytes
  /// Records that are looked at in a second for what may be reaped, and keys that are asked about at a time.
  package var reapLooksPerSecond = 20_000
  package var reapKeysAtOnce = 512
  /// Conditions of reaping that a test leaves out.
  package var brokenReaping: Set<ReapingCondition> = []

  /// Rules that a test breaks on purpose.
  package var subversions = NodeSubversions()

  public init(cluster: String) { self.cluster = cluster }

  /// - Throws: `.invalidOption` naming the first option outside its limits.
  package func validate() throws(DatabaseError) {
    func check(_ ok: Bool, _ text: @autoclosure () -> String) throws(DatabaseError) {
      if !ok { throw DatabaseError(.invalidOption, text()) }
    }
    try check((1...255).contains(cluster.utf8.count), "a cluster's name has 1 to 255 bytes")
    try check((1...64).contains(foundingNodes), "foundingNodes is \(foundingNodes), must be 1 to 64")
    if let replicas { try check((1...16).contains(replicas), "replicas is \(replicas), must be 1 to 16") }
    try check((1...1_000).contains(weight), "weight is \(weight), must be 1 to 1000")
    try check(zone.utf8.count <= 255, "a zone's name has at most 255 bytes")
    for (name, value) in [
      ("replicaTimeout", replicaTimeout), ("impatience", impatience), ("requestTimeout", requestTimeout),
      ("repairTimeout", repairTimeout),
    ] {
      try check(
        value >= .milliseconds(1) && value <= .seconds(600),
        "\(name) is \(value), must be 1 ms to ten minutes")
    }
    if let foundingTimeout {
      try check(
        foundingTimeout >= .zero && foundingTimeout <= .seconds(86_400),
        "foundingTimeout is \(foundingTimeout), must be 0 to one day")
    }
    try check(
      (1...1_000_000).contains(requestLimit), "requestLimit is \(requestLimit), must be 1 to a million")
    try check(
      lease >= .milliseconds(100) && lease <= .seconds(3_600), "lease is \(lease), must be 100 ms to an hour")
    try check(
      (1_024...(1 << 40)).contains(hintBytesPerSecond),
      "hintBytesPerSecond is \(hintBytesPerSecond), must be 1024 to \(1 << 40)")
    try check(
      (1_024...(1 << 40)).contains(moveBytesPerSecond),
      "moveBytesPerSecond is \(moveBytesPerSecond), must be 1024 to \(1 << 40)")
    if let repairInterval {
      try check(
        repairInterval >= .seconds(60) && repairInterval <= .seconds(366 * 86_400),
        "repairInterval is \(repairInterval), must be a minute to a year")
    }
    try check(
      (1...1_000_000).contains(fullRepairEvery),
      "fullRepairEvery is \(fullRepairEvery), must be 1 to 1000000")
    try check(
      (1_024...(1 << 40)).contains(repairBytesPerSecond),
      "repairBytesPerSecond is \(repairBytesPerSecond), must be 1024 to \(1 << 40)")
  }
}
