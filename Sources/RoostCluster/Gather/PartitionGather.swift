import RoostEnvironment

// How a node reads from many partitions at once:
//
// 1. For each partition the replicas that are trusted most are chosen, as many as have to answer, and each
//    member that was chosen is asked once for all the partitions that it was chosen for.
// 2. Where a member fails, or does not answer in time, the next replica of each partition that it was asked
//    for takes its place, again with one message a member.
// 3. It is done when each partition has as many answers as were wanted; where a partition has no replica left
//    it fails, and says which.

/// A partition, and who may be asked about it.
struct GatheredPartition: Sendable {
  var partition: Int
  /// The first is asked first.
  var candidates: [MemberID]
  /// How many of them must answer: at least 1, and no more than there are.
  var count: Int
}

/// Asks members for what they hold of partitions, until enough have answered for each. Thread-safe.
final class PartitionGather<Part: Sendable>: UnderWay, @unchecked Sendable {
  /// What a member answered.
  struct Found: Sendable {
    var member: MemberID
    /// Ascending.
    var partitions: [Int]
    var part: Part
  }

  /// How a member is asked. A plain value.
  struct Question: Sendable {
    var kind: UInt16
    /// The message's body for a member and the partitions that it is asked for.
    var body: @Sendable (MemberID, [Int]) -> [UInt8]
    /// Of the body of an answer about partitions.
    var decode: @Sendable ([UInt8], [Int]) throws(DatabaseError) -> Part
    /// What this node itself answers; on a thread that may wait.
    var own: @Sendable ([Int]) throws(DatabaseError) -> Part
  }

  private struct Ask {
    var member: MemberID
    var partitions: [Int]
  }

  private let node: ClusterNode
  private let question: Question
  private let deadline: UInt64
  private let lock = Lock()
  // Guarded by `lock`.
  private var reply: ClusterNode.Answer<[Found]>?
  /// Who has not been asked yet, by partition.
  private var left: [Int: ArraySlice<MemberID>]
  private var found: [Found] = []
  private var asked = 0
  private var number: UInt64 = 0
  private let first: [Ask]

  /// - Parameter reply: called once, by the deadline, from any thread: with all answers, in no order; with
  ///   `.unreachable` naming a partition, or what the last of its replicas failed with.
  init(
    _ node: ClusterNode, _ partitions: [GatheredPartition], _ question: Question, _ deadline: UInt64,
    _ reply: @escaping ClusterNode.Answer<[Found]>
  ) {
    self.node = node
    self.question = question
    self.deadline = deadline
    self.reply = reply
    left = [:]
    var asks: [Ask] = []
    for one in partitions {
      for member in one.candidates.prefix(one.count) { Self.add(one.partition, of: member, to: &asks) }
      left[one.partition] = one.candidates.dropFirst(one.count)
    }
    first = asks
  }

  private static func add(_ partition: Int, of member: MemberID, to asks: inout [Ask]) {
    if let index = asks.firstIndex(where: { $0.member == member }) {
      asks[index].partitions.append(partition)
    } else {
      asks.append(Ask(member: member, partitions: [partition]))
    }
  }

  func begin() {
    let number = node.enlist(self)
    let isOver = lock.withLock {
      self.number = number
      asked = first.count
      return reply == nil
    }
    if isOver { return node.strike(number) }
    if first.isEmpty { return end(.success([])) }
    for one in first { ask(one) }
  }

  private func ask(_ one: Ask) {
    if one.member == node.local.id {
      return node.runReading { [self] in
        received(one, answered { () throws(DatabaseError) in try question.own(one.partitions) })
      }
    }
    // Where it fails and one partition has nobody else, all is over.
    let isLast = lock.withLock { one.partitions.contains { left[$0]?.isEmpty ?? true } }
    let limit = node.patience(until: deadline, isLast: isLast)
    let body = question.body(one.member, one.partitions)
    let decode = question.decode
    node.send(question.kind, body, to: one.member, deadline: limit) { [self] result in
      received(
        one,
        result.flatMap { bytes in answered { () throws(DatabaseError) in try decode(bytes, one.partitions) } }
      )
    }
  }

  private func received(_ one: Ask, _ result: Result<Part, DatabaseError>) {
    switch result {
    case .success(let part):
      let all = lock.withLock { () -> [Found]? in
        asked -= 1
        found.append(Found(member: one.member, partitions: one.partitions, part: part))
        return asked == 0 ? found : nil
      }
      if let all { end(.success(all)) }
    case .failure(let error):
      // Others may have it whole: who runs the node should know all the same.
      if error.code == .corruption { node.core.options.warn("a replica could not be read: \(error)") }
      let next = lock.withLock { () -> Result<[Ask], DatabaseError> in
        asked -= 1
        if reply == nil { return .success([]) }
        var asks: [Ask] = []
        for partition in one.partitions {
          guard let member = left[partition]?.popFirst() else {
            return .failure(Self.none(partition, error))
          }
          Self.add(partition, of: member, to: &asks)
        }
        asked += asks.count
        return .success(asks)
      }
      switch next {
      case .failure(let error): end(.failure(error))
      case .success(let asks): for one in asks { ask(one) }
      }
    }
  }

  private static func none(_ partition: Int, _ last: DatabaseError) -> DatabaseError {
    // What else a replica says is said of the request, or of what it has.
    guard [.unreachable, .deadlineExceeded, .busy, .closed].contains(last.code) else { return last }
    return DatabaseError(
      .unreachable, "too few replicas of partition \(partition) are within reach; the last: \(last.message)",
      cause: last.cause)
  }

  private func end(_ result: Result<[Found], DatabaseError>) {
    let (reply, number) = lock.withLock {
      defer {
        self.reply = nil
        left = [:]
        found = []
      }
      return (self.reply, self.number)
    }
    node.strike(number)
    reply?(result)
  }

  func look(at nanoseconds: UInt64) {
    guard nanoseconds >= deadline else { return }
    end(.failure(DatabaseError(.deadlineExceeded, "the replicas did not answer in time")))
  }

  func end() { end(.failure(DatabaseError(.closed, "the node was closed"))) }
}

extension ClusterNode {
  /// Asks members for what they hold of partitions; anew, where the ring changed before all had answered.
  ///
  /// - Parameters:
  ///   - keyspace: whose replicas.
  ///   - quorum: how many replicas of each must answer; `nil` for a majority.
  ///   - preferred: whom to ask first about a partition, as long as it is a replica and seems to be there.
  ///   - question: made anew for each ring; told how many members are asked first.
  ///   - reply: called once, from any thread: as ``PartitionGather``.
  func gather<Part: Sendable>(
    _ partitions: Range<Int>, of keyspace: KeyspaceCore, quorum: Int?, _ deadline: UInt64, attempt: Int = 1,
    preferring preferred: @escaping @Sendable (Int) -> MemberID? = { _ in nil },
    _ question: @escaping @Sendable (RingView, Int) -> PartitionGather<Part>.Question,
    _ reply: @escaping Answer<[PartitionGather<Part>.Found]>
  ) {
    let view = view
    let asked: [GatheredPartition]
    do throws(DatabaseError) {
      asked = try gathered(partitions, keyspace, quorum, by: view, preferred)
    } catch { return reply(.failure(error)) }
    let first = Set(asked.flatMap { $0.candidates.prefix($0.count) })
    PartitionGather(self, asked, question(view, first.count), deadline) { [self] result in
      guard case .failure(let error) = result, error.code == .unreachable || error.code == .staleRing else {
        return reply(result)
      }
      // Off the thread that brought the answer: the directory may be asked.
      run(until: deadline, refused: { _ in reply(result) }) { [self] in
        if error.code == .staleRing { _ = try? refreshRing() }
        if attempt < Self.mostAttempts, now < deadline, self.view.revision != view.revision {
          return gather(
            partitions, of: keyspace, quorum: quorum, deadline, attempt: attempt + 1, preferring: preferred,
            question, reply)
        }
        // Of rings nodes talk among themselves.
        reply(error.code == .staleRing ? .failure(DatabaseError(.unreachable, error.message)) : result)
      }
    }.begin()
  }

  func gather<Part: Sendable>(
    _ partitions: Range<Int>, of keyspace: KeyspaceCore, quorum: Int?, _ deadline: UInt64,
    _ question: @escaping @Sendable (RingView) -> PartitionGather<Part>.Question,
    _ reply: @escaping Answer<[PartitionGather<Part>.Found]>
  ) {
    gather(partitions, of: keyspace, quorum: quorum, deadline, { view, _ in question(view) }, reply)
  }

  /// All partitions, or those named, each with its replicas in the order in which they are asked.
  ///
  /// - Throws: `.invalidArgument` where there are fewer replicas.
  private func gathered(
    _ partitions: Range<Int>, _ keyspace: KeyspaceCore, _ quorum: Int?, by view: RingView,
    _ preferred: (Int) -> MemberID?
  ) throws(DatabaseError) -> [GatheredPartition] {
    let ring = view.ring
    let now = now
    let members = ring.members.map(\.id)
    let suspected = Set(members.filter { $0 != local.id && peers.isSuspected($0, at: now) })
    let count = quorum ?? keyspace.replicas / 2 + 1
    guard (1...keyspace.replicas).contains(count) else {
      throw DatabaseError(
        .invalidArgument, "a quorum of \(count); the keyspace has \(keyspace.replicas) replicas")
    }
    return partitions.map { partition in
      let replicas = view.replicas(of: partition, in: keyspace)
      // This node first, and those last that are likely to be down.
      var candidates =
        replicas.filter { $0 == local.id }
        + replicas.filter { $0 != local.id && !suspected.contains($0) }
        + replicas.filter { suspected.contains($0) }
      if let known = preferred(partition), !suspected.contains(known),
        let place = candidates.firstIndex(of: known)
      {
        candidates.remove(at: place)
        candidates.insert(known, at: 0)
      }
      return GatheredPartition(partition: partition, candidates: candidates, count: count)
    }
  }
}
