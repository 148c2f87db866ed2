/// Judges a history of list appends and reads: is it strictly serialisable?
///
/// As Elle does (Kingsbury and Alvaro, 2020): each key's longest read gives the order of its
/// versions, and that all direct dependencies.
///
/// 1. Which transaction appended what; what failed must not be seen.
/// 2. Each key's version order; every other read must be a beginning of it.
/// 3. Edges: who appended next to whom, who read whose append, who appended to what was read. What was
///    appended and never seen comes after all that was.
/// 4. Cycles, with real time and without; and commit timestamps against the edges.
struct ListAppendChecker {
  static func check(_ history: History) -> [Anomaly] {
    var checker = ListAppendChecker(history)
    checker.readVersions()
    checker.checkReads()
    checker.addEdges()
    let names = checker.transactions.map(\.id)
    let part = checker.transactions.map { Optional($0) }
    // A failed transaction took no place in the order, and what nobody heard of only where it was seen.
    let placed = zip(part, checker.takesPart).map { $1 ? $0 : nil }
    checker.graph.addRealTime(placed)
    return checker.anomalies + checker.graph.anomalies(names)
      + checker.graph.againstTime(placed, names)
  }

  private let transactions: [HistoryTransaction]
  private var takesPart: [Bool]
  private var graph: DependencyGraph
  private var anomalies: [Anomaly] = []
  /// By key, then value: who appended it.
  private var appenders: [String: [Int: Int]] = [:]
  /// By key: the longest list that was read.
  private var versions: [String: [Int]] = [:]
  /// By key: who read it before appending to it, and what.
  private var reads: [(node: Int, key: String, list: [Int])] = []

  private init(_ history: History) {
    transactions = history.transactions
    takesPart = transactions.map { $0.status == .ok }
    graph = DependencyGraph(transactionCount: transactions.count)
    for (node, transaction) in transactions.enumerated() {
      for case .append(let key, let value) in transaction.operations {
        if appenders[key, default: [:]].updateValue(node, forKey: value) != nil {
          report(.duplicateElements, "\(value) is appended to \(key) twice")
        }
      }
    }
  }

  private mutating func report(_ kind: Anomaly.Kind, _ text: String) {
    anomalies.append(Anomaly(kind: kind, text: text))
  }

  /// Takes the reads of what others wrote out of each transaction, and checks those of its own.
  private mutating func readVersions() {
    for (node, transaction) in transactions.enumerated() where transaction.status == .ok {
      var known: [String: [Int]] = [:]
      var added: [String: [Int]] = [:]
      for operation in transaction.operations {
        switch operation {
        case .append(let key, let value): added[key, default: []].append(value)
        case .readList(let key, let list?):
          let own = added[key] ?? []
          guard list.suffix(own.count) == own[...] else {
            report(.internalRead, "\(transaction.id) read \(list) of \(key) after appending \(own)")
            continue
          }
          let before = Array(list.dropLast(own.count))
          if let earlier = known[key], earlier != before {
            report(.internalRead, "\(transaction.id) read \(earlier), then \(before) of \(key)")
          }
          known[key] = before
          see(node, key, list, before)
        default: break
        }
      }
    }
    // Names decide between equals, so that the same history gives the same answer.
    reads.sort { ($0.key, $0.node) < ($1.key, $1.node) }
  }

  private mutating func see(_ node: Int, _ key: String, _ list: [Int], _ before: [Int]) {
    reads.append((node, key, before))
    if list.count > versions[key]?.count ?? -1 { versions[key] = list }
    for value in list {
      if let appender = appenders[key]?[value], transactions[appender].status == .info {
        takesPart[appender] = true
      }
    }
  }

  private mutating func checkReads() {
    for (key, longest) in versions.sorted(by: { $0.key < $1.key }) {
      if Set(longest).count != longest.count { report(.duplicateElements, "\(key) is \(longest)") }
    }
    for (node, key, list) in reads {
      let longest = versions[key] ?? []
      let name = transactions[node].id
      if list[...] != longest.prefix(list.count) {
        report(.incompatibleOrder, "\(name) read \(list) of \(key), which was \(longest) as well")
      }
      for value in list {
        guard let appender = appenders[key]?[value] else {
          report(.garbageRead, "\(name) read \(value) of \(key)")
          continue
        }
        if transactions[appender].status == .fail {
          report(.g1a, "\(name) read \(value) of \(key), of the aborted \(transactions[appender].id)")
        }
      }
      if let last = list.last, let appender = appenders[key]?[last], appender != node,
        let final = finalAppend(appender, key), final != last
      {
        let writer = transactions[appender].id
        report(.g1b, "\(name) read \(last) of \(key) without \(final), both of \(writer)")
      }
    }
    checkLostUpdates()
  }

  private func finalAppend(_ node: Int, _ key: String) -> Int? {
    transactions[node].operations.reduce(nil) {
      if case .append(key, let value) = $1 { value } else { $0 }
    }
  }

  private mutating func checkLostUpdates() {
    struct Version: Hashable {
      var key: String
      var list: [Int]
    }
    var updates: [Version: Int] = [:]
    for (node, key, list) in reads where finalAppend(node, key) != nil {
      if let other = updates.updateValue(node, forKey: Version(key: key, list: list)), other != node {
        report(
          .lostUpdate,
          "\(transactions[other].id) and \(transactions[node].id) appended to \(key), "
            + "each having read \(list)")
      }
    }
  }

  private mutating func addEdges() {
    for (key, order) in versions {
      let writers = order.map { appenders[key]?[$0] }
      for (a, b) in zip(writers, writers.dropFirst()) {
        if let a, let b { graph.add(.writeWrite, key, from: a, to: b) }
      }
      let seen = Set(order)
      let unseen = (appenders[key] ?? [:]).filter { takesPart[$1] && !seen.contains($0) }.values
      for node in unseen {
        if let last = writers.last, let last { graph.add(.writeWrite, key, from: last, to: node) }
      }
      for read in reads where read.key == key {
        if let last = read.list.last, let writer = appenders[key]?[last] {
          graph.add(.writeRead, key, from: writer, to: read.node)
        }
        if read.list.count < order.count {
          if let next = writers[read.list.count] { graph.add(.readWrite, key, from: read.node, to: next) }
        } else {
          for node in unseen { graph.add(.readWrite, key, from: read.node, to: node) }
        }
      }
    }
  }
}
