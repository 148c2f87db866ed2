/// Which transaction must stand before which in any serial order that explains a history.
///
/// Nodes below `transactionCount` are transactions. Those above are moments: a transaction that
/// ended points to the moment of its end, moments to the next moment, and a moment to those that
/// began after it, so that real-time order takes a linear number of edges.
struct DependencyGraph {
  enum Kind: UInt8 {
    /// Its write replaces the other's.
    case writeWrite
    /// It read the other's write.
    case writeRead
    /// It replaced what the other read.
    case readWrite
    /// It began after the other had ended.
    case realTime

    var name: String {
      switch self {
      case .writeWrite: "ww"
      case .writeRead: "wr"
      case .readWrite: "rw"
      case .realTime: "rt"
      }
    }
  }

  struct Edge: Hashable {
    var from: Int
    var to: Int
    var kind: Kind
    var key: String
  }

  let transactionCount: Int
  private(set) var edges: [[Edge]]

  init(transactionCount: Int) {
    self.transactionCount = transactionCount
    edges = Array(repeating: [], count: transactionCount)
  }

  mutating func add(_ kind: Kind, _ key: String, from: Int, to: Int) {
    guard from != to else { return }
    edges[from].append(Edge(from: from, to: to, kind: kind, key: key))
  }

  /// Adds the real-time order of transactions whose positions in the history are given; those that
  /// took no part are `nil`.
  mutating func addRealTime(_ transactions: [HistoryTransaction?]) {
    var moments: [(position: Int, node: Int, isEnd: Bool)] = []
    for (node, transaction) in transactions.enumerated() {
      guard let transaction else { continue }
      moments.append((transaction.began, node, false))
      if let ended = transaction.ended { moments.append((ended, node, true)) }
    }
    moments.sort { $0.position < $1.position }
    var last: Int?
    for moment in moments {
      if moment.isEnd {
        edges.append([])
        let node = edges.count - 1
        if let last { add(.realTime, "", from: last, to: node) }
        add(.realTime, "", from: moment.node, to: node)
        last = node
      } else if let last {
        add(.realTime, "", from: last, to: moment.node)
      }
    }
  }

  /// The strongly connected components of more than one node, by Tarjan's algorithm, over edges of
  /// some kinds: each node's component, or `nil`.
  func components(_ kinds: Set<Kind>) -> [Int?] {
    var search = ComponentSearch(self, kinds)
    for node in edges.indices where search.order[node] == nil { search.run(from: node) }
    return search.component
  }

  /// The shortest way from one node to another over edges of some kinds that stay in a component.
  func path(from start: Int, to end: Int, _ kinds: Set<Kind>, in component: [Int?]) -> [Edge]? {
    var reached: [Int: Edge] = [:]
    var queue = [start]
    var next = 0
    while next < queue.count {
      let node = queue[next]
      next += 1
      for edge in edges[node] where kinds.contains(edge.kind) && component[edge.to] == component[start] {
        guard reached[edge.to] == nil, edge.to != start else { continue }
        reached[edge.to] = edge
        if edge.to == end {
          var path = [edge]
          while let first = path.first, first.from != start, let before = reached[first.from] {
            path.insert(before, at: 0)
          }
          return path
        }
        queue.append(edge.to)
      }
    }
    return nil
  }
}

/// Tarjan's search, with a stack of its own: histories are long, and recursion is not.
private struct ComponentSearch {
  let graph: DependencyGraph
  let kinds: Set<DependencyGraph.Kind>
  var order: [Int?]
  var low: [Int]
  var isOnStack: [Bool]
  var component: [Int?]
  var stack: [Int] = []
  var count = 0
  var componentCount = 0

  init(_ graph: DependencyGraph, _ kinds: Set<DependencyGraph.Kind>) {
    self.graph = graph
    self.kinds = kinds
    let count = graph.edges.count
    order = Array(repeating: nil, count: count)
    low = Array(repeating: 0, count: count)
    isOnStack = Array(repeating: false, count: count)
    component = Array(repeating: nil, count: count)
  }

  mutating func enter(_ node: Int) {
    order[node] = count
    low[node] = count
    count += 1
    stack.append(node)
    isOnStack[node] = true
  }

  mutating func run(from root: Int) {
    enter(root)
    var path: [(node: Int, next: Int)] = [(root, 0)]
    while let top = path.last {
      let node = top.node
      if top.next < graph.edges[node].count {
        path[path.count - 1].next += 1
        let edge = graph.edges[node][top.next]
        guard kinds.contains(edge.kind) else { continue }
        if let seen = order[edge.to] {
          if isOnStack[edge.to] { low[node] = min(low[node], seen) }
        } else {
          enter(edge.to)
          path.append((edge.to, 0))
        }
      } else {
        path.removeLast()
        if let parent = path.last?.node { low[parent] = min(low[parent], low[node]) }
        if low[node] == order[node] { close(node) }
      }
    }
  }

  private mutating func close(_ root: Int) {
    var members: [Int] = []
    while let node = stack.popLast() {
      isOnStack[node] = false
      members.append(node)
      if node == root { break }
    }
    guard members.count > 1 else { return }
    for node in members { component[node] = componentCount }
    componentCount += 1
  }
}
