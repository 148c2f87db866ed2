/// Judges a history of register reads and writes as far as it can be inferred: each value is written
/// once to a key, so who read from whom is known; which write came before which is known where a
/// transaction read the one and wrote the other, and where one had ended before the other began.
///
/// Sound, not complete: what it reports is wrong under any order of the versions.
struct RegisterChecker {
  static func check(_ history: History) -> [Anomaly] {
    var checker = RegisterChecker(history)
    checker.readVersions()
    checker.addEdges()
    let names = checker.transactions.map(\.id)
    let placed = zip(checker.transactions, checker.takesPart).map { $1 ? Optional($0) : nil }
    checker.graph.addRealTime(placed)
    return checker.anomalies + checker.graph.anomalies(names)
      + checker.graph.againstTime(placed, names)
  }

  private struct Version: Hashable {
    var key: String
    /// `nil`: the key was never written.
    var value: Int?
  }

  private let transactions: [HistoryTransaction]
  private var takesPart: [Bool]
  private var graph: DependencyGraph
  private var anomalies: [Anomaly] = []
  private var writers: [Version: Int] = [:]
  private var readers: [(node: Int, version: Version)] = []
  /// What is known to come after a version, at some distance.
  private var successors: [Version: Set<Int>] = [:]

  private init(_ history: History) {
    transactions = history.transactions
    takesPart = transactions.map { $0.status == .ok }
    graph = DependencyGraph(transactionCount: transactions.count)
    for (node, transaction) in transactions.enumerated() {
      for case .write(let key, let value) in transaction.operations {
        writers[Version(key: key, value: value)] = node
      }
    }
  }

  private mutating func report(_ kind: Anomaly.Kind, _ text: String) {
    anomalies.append(Anomaly(kind: kind, text: text))
  }

  private func finalWrite(_ node: Int, _ key: String) -> Int? {
    transactions[node].operations.reduce(nil) {
      if case .write(key, let value) = $1 { value } else { $0 }
    }
  }

  private mutating func readVersions() {
    var updates: [Version: Int] = [:]
    for (node, transaction) in transactions.enumerated() where transaction.status == .ok {
      var own: [String: Int] = [:]
      var known: [String: Int?] = [:]
      for operation in transaction.operations {
        switch operation {
        case .write(let key, let value): own[key] = value
        case .read(let key, let value):
          let expected: Int?? = own[key].map(Optional.some) ?? known[key]
          if let expected, expected != value {
            let known = expected.map(String.init) ?? "absent"
            report(.internalRead, "\(transaction.id) knew \(key) as \(known)")
          } else if own[key] == nil, known.updateValue(value, forKey: key) == nil {
            see(node, Version(key: key, value: value), &updates)
          }
        default: break
        }
      }
    }
  }

  private mutating func see(_ node: Int, _ version: Version, _ updates: inout [Version: Int]) {
    let name = transactions[node].id
    readers.append((node, version))
    if let value = version.value {
      guard let writer = writers[version] else {
        report(.garbageRead, "\(name) read \(value) of \(version.key)")
        return
      }
      if transactions[writer].status == .info { takesPart[writer] = true }
      if transactions[writer].status == .fail {
        report(.g1a, "\(name) read \(value) of \(version.key) of the aborted \(transactions[writer].id)")
      }
      if writer != node, let final = finalWrite(writer, version.key), final != value {
        let writer = transactions[writer].id
        report(.g1b, "\(name) read \(value) of \(version.key), and not \(final), of \(writer)")
      }
    }
    guard let final = finalWrite(node, version.key) else { return }
    successors[version, default: []].insert(final)
    if let other = updates.updateValue(node, forKey: version), other != node {
      report(
        .lostUpdate,
        "\(transactions[other].id) and \(name) wrote \(version.key), each having read "
          + (version.value.map(String.init) ?? "nothing"))
    }
  }

  /// All that is known of which version came before which: by reads before writes, from absence to
  /// presence, and by real time.
  private mutating func orderVersions() {
    var final: [String: [(node: Int, value: Int)]] = [:]
    for (version, node) in writers where takesPart[node] {
      guard let value = version.value, finalWrite(node, version.key) == value else { continue }
      final[version.key, default: []].append((node, value))
      successors[Version(key: version.key, value: nil), default: []].insert(value)
    }
    for (key, all) in final {
      for a in all {
        guard let ended = transactions[a.node].ended else { continue }
        for b in all where transactions[b.node].began > ended {
          successors[Version(key: key, value: a.value), default: []].insert(b.value)
        }
      }
    }
  }

  private mutating func addEdges() {
    orderVersions()
    var ends: [Version: [Int]] = [:]
    for (node, version) in readers { ends[version, default: []].append(node) }
    // In an order of their own, so that the same history gives the same answer.
    let ordered = successors.sorted {
      ($0.key.key, $0.key.value ?? .min) < ($1.key.key, $1.key.value ?? .min)
    }
    for (version, later) in ordered {
      let key = version.key
      for value in later.sorted() {
        guard let next = writers[Version(key: key, value: value)] else { continue }
        if successors[Version(key: key, value: value)]?.contains(version.value ?? .min) == true {
          report(.cyclicVersions, "\(key): \(version.value ?? -1) and \(value)")
        }
        if let writer = writers[version] { graph.add(.writeWrite, key, from: writer, to: next) }
        for reader in ends[version] ?? [] { graph.add(.readWrite, key, from: reader, to: next) }
      }
    }
    for (node, version) in readers {
      if let writer = writers[version] { graph.add(.writeRead, version.key, from: writer, to: node) }
    }
  }
}
