import ArgumentParser
import Glibc
import RoostCluster
import RoostEnvironment
import RoostNetwork
import RoostTransactions

/// `roost serve`: runs a node of a cluster until it is told to end.
struct Serve: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run a node of a cluster.",
    discussion: """
      A node is one process with one store. The nodes find each other through a folder that all of
      them share, so all on one machine for now. The first time, a cluster waits for its founding
      nodes, and spreads the keys over them. A node that comes later, with --join, says that it asks
      to join and under which number, and waits until `roost cluster join` admits it.

      It says on standard output where it listens and when it is ready, each in a line, and on
      standard error what there is to know. Signals:
        INT, TERM   end what is under way and close; a second one ends the process at once
        HUP         read certificate, key and authority again

      EXAMPLES
        roost serve ./node1 --cluster music --listen 127.0.0.1:7421 --directory ./cluster --plain
        roost serve ./node1 --cluster music --listen 127.0.0.1:7421 --directory ./cluster \\
          --tls-certificate node1.pem --tls-key node1.key --tls-authority ca.pem
        roost serve ./node4 --cluster music --listen 127.0.0.1:7424 --directory ./cluster --plain --join
        roost serve ./node1 --config node1.json     {"cluster": "music", "listen": …}
      """)

  @Argument(help: "The directory of the node's store; made where it is missing.", completion: .directory)
  var store: String
  @Option(help: "The cluster's name, the same at all nodes.") var cluster: String?
  @Option(
    help: ArgumentHelp(
      "Where to listen, as the others reach it; port 0 for any that is free.", valueName: "host:port"))
  var listen: String?
  @Option(help: "The folder in which the nodes find each other.", completion: .directory)
  var directory: String?
  @Option(help: "How many nodes the cluster begins with, the same at all of them; 3 otherwise.")
  var foundingNodes: Int?
  @Option(help: "How many nodes hold each key, 1 to 16; 3 otherwise, or all where they are fewer.")
  var replicas: Int?
  @Option(
    help: ArgumentHelp(
      "How long another node may take to acknowledge or to answer, 0.001 to 600; 1 otherwise. A write waits "
        + "for it no longer than half of its own time: then another node keeps a hint.",
      valueName: "seconds"))
  var replicaTimeout: Double?
  @Option(help: "How many partitions, 1 to 32768, for good; from the number of nodes otherwise.")
  var partitions: Int?
  @Option(help: "What fails together with this node: replicas go to distinct zones.") var zone: String?
  @Option(
    help: ArgumentHelp(
      "After how long deletes are forgotten for good, the same at all nodes; never otherwise.",
      valueName: "seconds"))
  var tombstoneHorizon: Int?
  @Option(
    help: ArgumentHelp(
      "How fast partitions move to this node, at least 1024; 16777216 otherwise.", valueName: "bytes"))
  var moveBytesPerSecond: Int?
  @Option(
    help: ArgumentHelp(
      "How fast this node hands over what it keeps for others, at least 1024; 8388608 otherwise.",
      valueName: "bytes"))
  var hintBytesPerSecond: Int?
  @Option(
    help: ArgumentHelp(
      "How fast this node compares with the others in the background, at least 1024; 4194304 otherwise.",
      valueName: "bytes"))
  var repairBytesPerSecond: Int?
  @Option(help: "This node's share beside the others', 1 to 1000; 100 otherwise.") var weight: Int?
  @OptionGroup var tls: TLSArguments
  @Option(
    help: ArgumentHelp("A JSON object of settings named as the flags are; flags win.", valueName: "file"),
    completion: .file())
  var config: String?
  @Flag(help: "Ask to become a member of a cluster that is there already; of no matter once it is one.")
  var join = false
  @Flag(help: "Every write returns only once it would survive power loss.") var synced = false

  /// What is under way may take so long when the node is told to end.
  private static let patience = Duration.seconds(10)
  /// The event that joining has ended, among those of ``Signals``.
  private static let joined: UInt8 = 0
  /// The event that an operator has to admit the node first; no signal has the number.
  private static let asking: UInt8 = 255

  func run() throws {
    let settings = try NodeSettings(self.settings())
    let path = try absolute(store)
    // Before there are threads that a signal could meet.
    let signals = try Signals([SIGINT, SIGTERM, SIGHUP])
    let service = try NodeService.listen(
      as: settings.cluster.cluster, at: settings.address, tls: settings.tls, environment: .posix())
    try say("listening at \(service.address), node \(service.nodeID)")
    let joining = Joining()
    let workers = Environment.posix().makeWorkers()
    workers.submit(.background) {
      joining.result = Result {
        let node = try service.join(
          at: path, settings.database, settings.cluster, directory: .file(settings.directory)
        ) { member in
          joining.candidate = member
          signals.post(Self.asking)
        }
        let transactions = NodeTransactions(node)
        joining.transactions = transactions
        // What an earlier process left undecided holds its locks again.
        try transactions.start()
        return node
      }
      signals.post(Self.joined)
    }
    try serve(service, joining, signals)
    signals.restore(ignoring: SIGHUP)
    guard joining.result != nil else {
      // It waits for the other founders, or recovers its store: nothing that an end would harm.
      Complaint.line("told to end before the cluster was ready")
      _ = try? service.stop(drainingFor: .zero)
      throw ExitStatus.success
    }
    joining.closeTransactions()
    if try !service.stop(drainingFor: Self.patience) {
      Complaint.line("not all that was under way ended within \(Format.duration(Self.patience))")
    }
    workers.shutdown()
  }

  /// Until it is told to end.
  ///
  /// - Throws: what joining throws.
  private func serve(_ service: NodeService, _ joining: Joining, _ signals: Signals) throws {
    while true {
      switch try signals.next() {
      case Int32(Self.joined):
        do {
          guard let node = try joining.result?.get() else { continue }
          let status = node.status
          try say("ready: cluster \(status.cluster), \(StatusText.summary(status))")
        } catch {
          joining.closeTransactions()
          _ = try? service.stop(drainingFor: .zero)
          throw error
        }
      case Int32(Self.asking):
        if let member = joining.candidate {
          try say("asks to join: member \(member); `roost cluster join \(member)` admits it")
        }
      case SIGHUP:
        do throws(TransportError) {
          try service.reloadCertificates()
          Complaint.line("read the certificates again")
        } catch {
          Complaint.line("the certificates stay as they were: \(error.message)")
        }
      default: return
      }
    }
  }

  /// At once: scripts wait for it.
  private func say(_ line: String) throws {
    try Output.standard.line(line)
    try Output.standard.flush()
  }

  private func settings() throws -> ServeSettings {
    var flags = ServeSettings()
    flags.cluster = cluster
    flags.listen = listen
    flags.directory = directory
    flags.foundingNodes = foundingNodes
    flags.replicas = replicas
    flags.replicaTimeout = replicaTimeout
    flags.partitions = partitions
    flags.zone = zone
    flags.weight = weight
    flags.tombstoneHorizon = tombstoneHorizon
    flags.moveBytesPerSecond = moveBytesPerSecond
    flags.hintBytesPerSecond = hintBytesPerSecond
    flags.repairBytesPerSecond = repairBytesPerSecond
    flags.tlsCertificate = tls.tlsCertificate
    flags.tlsKey = tls.tlsKey
    flags.tlsAuthority = tls.tlsAuthority
    if tls.plain { flags.plain = true }
    if synced { flags.synced = true }
    if join { flags.join = true }
    return try config.map { flags.over(try ServeSettings(file: $0)) } ?? flags
  }
}

/// What joining came to; `nil` while it goes on. Thread-safe.
private final class Joining: @unchecked Sendable {
  private let lock = Lock()
  // Guarded by `lock`.
  private var held: Result<ClusterNode, any Error>?
  private var asking: MemberID?
  private var heldTransactions: NodeTransactions?

  var result: Result<ClusterNode, any Error>? {
    get { lock.withLock { held } }
    set { lock.withLock { held = newValue } }
  }

  /// The number under which it waits to be admitted, where it does.
  var candidate: MemberID? {
    get { lock.withLock { asking } }
    set { lock.withLock { asking = newValue } }
  }

  /// What the node does of transactions, its own and other nodes'.
  var transactions: NodeTransactions? {
    get { lock.withLock { heldTransactions } }
    set { lock.withLock { heldTransactions = newValue } }
  }

  func closeTransactions() {
    do { try transactions?.close() } catch {
      Complaint.line("the transactions could not be closed: \(error)")
    }
  }
}
