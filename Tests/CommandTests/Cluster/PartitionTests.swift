import Foundation
import TestSupport
import Testing

/// Nodes on hosts of a network of their own, with TLS, that cannot reach each other for a while, and are
/// written to on all sides: what was acknowledged is there afterwards, what was written at once stands
/// side by side, and all replicas are equal.
// Budget: 30 s
@Suite(
  .serialized, .ownThreads, .timeLimit(.minutes(30)),
  .enabled(if: NetworkHosts.areAllowed, "network namespaces need root, unshare, nsenter and ip")
)
struct PartitionTests {
  /// Who does not reach whom, of three.
  enum Shape: CaseIterable, Sendable {
    /// The last one nobody, and nobody it.
    case oneIsCutOff
    /// The first two each other; both reach the third.
    case twoAreApart
    /// The last one is not reached by the first, which it reaches.
    case oneWay

    /// Nodes that have a majority within reach.
    var majority: Set<Int> { self == .oneIsCutOff ? [0, 1] : [0, 1, 2] }

    func set(_ isBroken: Bool, _ hosts: NetworkHosts, _ roost: Roost) throws {
      switch self {
      case .oneIsCutOff: try hosts.plug(2, !isBroken, roost)
      case .twoAreApart:
        try hosts.refuse(0, to: 1, isBroken, roost)
        try hosts.refuse(1, to: 0, isBroken, roost)
      case .oneWay: try hosts.mislead(0, to: 2, isBroken, roost)
      }
    }
  }

  @Test(arguments: TestSize.isFull ? Shape.allCases : [.oneIsCutOff])
  func `sides that cannot reach each other are one again afterwards`(_ shape: Shape) throws {
    let cluster = try HostedCluster()
    defer { cluster.end() }
    try cluster.begin()
    #expect(try cluster.tries { try cluster.put(0, "deleted", "old, try \($0)", quorum: 3) })
    let old = try #require(try cluster.contents(at: 2)["deleted"]?.values)
    let context = try cluster.context(of: "deleted", at: 2)

    try shape.set(true, cluster.hosts, cluster.roost)
    for node in 0..<3 {
      #expect(try cluster.put(node, "both", "at one \(node)", quorum: 1))
      #expect(try cluster.increment(node, "likes", quorum: 1))
      if shape.majority.contains(node) {
        #expect(try cluster.tries { try cluster.put(node, "both", "at a majority of \(node), try \($0)") })
        #expect(try cluster.tries { _ in try cluster.increment(node, "likes") })
      } else {
        // They are at the node that was asked all the same.
        #expect(try !cluster.put(node, "both", "at too few \(node)"))
        #expect(try !cluster.increment(node, "likes"))
      }
    }
    // It does not reach all of them, whatever the shape.
    #expect(try !cluster.put(0, "both", "at all", quorum: 3))
    // Deleted on one side, and replaced on another by somebody who had read the same.
    #expect(try cluster.tries { _ in try cluster.delete(0, "deleted", seen: old) })
    #expect(try cluster.put(2, "deleted", "new", quorum: 1, context: context, seen: old))

    try shape.set(false, cluster.hosts, cluster.roost)
    try cluster.repair()
    let first = try cluster.contents(at: 0)
    for node in 0..<3 {
      let found = try cluster.contents(at: node)
      #expect(found == first)
      let problems = cluster.history.problems(with: found)
      #expect(problems.isEmpty, "through node \(node): \(problems)")
      #expect(found["deleted"]?.values == ["new"])
      #expect(found["both"]?.values.count ?? 0 >= 6)
    }
  }
}

/// Three nodes, a host each, and the tool, run on these hosts. Used by one thread.
private final class HostedCluster {
  let roost: Roost
  let hosts: NetworkHosts
  private(set) var history = LoadHistory()
  private var nodes: [ServedNode] = []
  private var addresses: [String] = []

  init() throws {
    roost = try Roost()
    hosts = try NetworkHosts(3)
  }

  func begin() throws {
    for (index, name) in ["a", "b", "c"].enumerated() {
      nodes.append(try ServedNode(roost, "node\(index)", tls: Self.tls(name), on: hosts[index]))
    }
    for node in nodes { try node.ready() }
    addresses = try nodes.map { try $0.address() }
    let made = try ask(0, ["cluster", "make-keyspace"], "default")
    try #require(made.status == 0, "\(made.errors)")
    // Each node dials the others for itself.
    for node in nodes.indices {
      try poll("a node that reaches the others") {
        try ask(node, ["put"], "ready", "yes", quorum: 3).status == 0
      }
    }
  }

  func end() { for node in nodes { node.kill() } }

  /// The flags with which somebody of `Tests/Fixtures/certificates` introduces itself.
  private static func tls(_ name: String) -> [String] {
    let folder = repositoryRoot + "/Tests/Fixtures/certificates/authority"
    return [
      "--tls-certificate", "\(folder)/\(name).pem", "--tls-key", "\(folder)/\(name).key",
      "--tls-authority", "\(folder)/ca.pem",
    ]
  }

  /// Asks a node from its own host, which reaches it whatever happens to the network.
  private func ask(
    _ node: Int, _ command: [String], _ words: String..., quorum: Int? = nil
  ) throws -> Roost.Outcome {
    var arguments = command + ["--connect", addresses[node], "--cluster", "music", "--timeout", "20"]
    if let quorum { arguments += ["--quorum", "\(quorum)"] }
    return try roost.start(
      "/usr/bin/env", hosts[node].prefix + [Roost.executable] + arguments + Self.tls("d") + words)
  }

  func poll(_ what: String, _ wish: () throws -> Bool) throws {
    let deadline = Date(timeIntervalSinceNow: ServedNode.patience)
    while try !wish() {
      if Date() > deadline { throw ServedNode.NeverCame(description: "never came: \(what)") }
    }
  }

  // MARK: - Writes

  /// Whether a write is acknowledged that should be: a machine that is busy elsewhere for a second makes a
  /// node that can be reached look as if it could not.
  func tries(_ write: (_ number: Int) throws -> Bool) throws -> Bool {
    for number in 1...5 { if try write(number) { return true } }
    return false
  }

  /// - Returns: whether it was acknowledged.
  func put(
    _ node: Int, _ key: String, _ value: String, quorum: Int? = nil, context: String? = nil,
    seen: [String] = []
  ) throws -> Bool {
    let asked =
      if let context {
        try ask(node, ["put", "--context", context], key, value, quorum: quorum)
      } else {
        try ask(node, ["put"], key, value, quorum: quorum)
      }
    return note(key, .put(value), asked, seen)
  }

  func delete(_ node: Int, _ key: String, seen: [String]) throws -> Bool {
    note(key, .delete, try ask(node, ["delete"], key), seen)
  }

  func increment(_ node: Int, _ key: String, quorum: Int? = nil) throws -> Bool {
    note(key, .increment(1), try ask(node, ["incr"], key, quorum: quorum), [])
  }

  private func note(
    _ key: String, _ change: LoadHistory.Change, _ outcome: Roost.Outcome, _ seen: [String]
  ) -> Bool {
    let isAcknowledged = outcome.status == 0
    // It may still appear.
    if isAcknowledged || outcome.status == 3 {
      history.note(
        LoadHistory.Entry(key: key, change: change, isAcknowledged: isAcknowledged, seen: seen))
    }
    return isAcknowledged
  }

  // MARK: - Reads

  /// A context that has seen what a key holds.
  func context(of key: String, at node: Int) throws -> String {
    String(try read(node, ["get", "--show-context"], key).text.dropLast())
  }

  /// Asks a node that should be able to tell: again where it reached too few, or was busy, as with writes
  /// that should be acknowledged. Whatever else comes is a fault.
  private func read(_ node: Int, _ command: [String], _ key: String) throws -> Roost.Outcome {
    var shown = try ask(node, command, key)
    for _ in 1...5 where [69, 75].contains(shown.status) { shown = try ask(node, command, key) }
    try #require(shown.status == 0, "\(shown.status): \(shown.errors)")
    return shown
  }

  func contents(at node: Int) throws -> [String: LoadHistory.Content] {
    var contents: [String: LoadHistory.Content] = [:]
    for key in history.keys {
      let shown = try read(node, ["get", "--json"], key)
      let object = try #require(
        try JSONSerialization.jsonObject(with: Data(shown.output)) as? [String: Any], "\(shown.text)")
      let states = object["states"] as? [[String: Any]] ?? []
      contents[key] = LoadHistory.Content(
        values: (object["values"] as? [String] ?? []).sorted(),
        count: Int64(states.first?["value"] as? Int ?? 0))
    }
    return contents
  }

  /// Compares all replicas with each other until there is nothing left to mend.
  func repair() throws {
    var roundsLeft = 4
    try poll("replicas that are compared, and equal") {
      let reports = try (0..<3).map { try ask($0, ["cluster", "repair"], "--json") }
      // Connections that were lost come back by and by.
      guard reports.allSatisfy({ $0.status == 0 }) else { return false }
      let isEqual = try reports.allSatisfy { report in
        let object = try JSONSerialization.jsonObject(with: Data(report.output)) as? [String: Any]
        return object?["differing"] as? Int == 0
      }
      roundsLeft -= 1
      if !isEqual, roundsLeft == 0 {
        throw ServedNode.NeverCame(description: "replicas differ again and again")
      }
      return isEqual
    }
  }
}
