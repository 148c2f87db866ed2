import RoostCausality
import RoostEnvironment

// How tombstones go, some on each beat, where an operator has set a horizon (why: `ReapingRule`):
//
// 1. A replica of a partition looks through what it holds for what is old enough: the first of its list, and
//    the others some time later, for what the first one has no more.
// 2. It asks all others, in one message, whether each has the same record or nothing. None may be away.
// 3. What all agree on it orders them to delete, and deletes it itself once they have. Each looks again, with
//    the key locked, whether the record is the same still.

extension ClusterNode {
  /// Looks for tombstones to reap, as many as are due.
  func reapInBackground() {
    guard let rule = reaping.rule, (try? checkServing()) != nil,
      let (position, looks) = reaping.begin(at: now, looksPerSecond: options.reapLooksPerSecond)
    else { return }
    run(.background) { [self] in
      do throws(DatabaseError) {
        guard let found = try findReapable(rule, from: position, looks) else { return reaping.end() }
        try ask(found, rule)
      } catch {
        // What the directory or a disk has today, it may not have with the next beat.
        counters.reapsPutOff.wrappingAdd(1, ordering: .relaxed)
        reaping.end()
      }
    }
  }

  /// The replicas of a keyspace's part of a partition, if nothing of the partition is moving, or about to be
  /// deleted where it was before.
  private func settledReplicas(_ partition: Int, _ keyspace: KeyspaceCore) -> [MemberID]? {
    let view = view
    let state = view.state
    guard view.isConfirmed, !state.copies.contains(where: { $0.partition == partition }),
      !state.drops.contains(where: { $0.partition == partition })
    else { return nil }
    return view.replicas(of: partition, in: keyspace)
  }

  private func isBroken(_ condition: ReapingCondition) -> Bool { options.brokenReaping.contains(condition) }

  private func reapBefore(_ rule: ReapingRule, _ now: Timestamp, horizon: UInt64) -> Timestamp {
    isBroken(.age) ? now : rule.before(now, horizon: horizon)
  }

  // MARK: - Asking

  private func findReapable(
    _ rule: ReapingRule, from start: NodeReaping.Position, _ allowed: Int
  ) throws(DatabaseError) -> ReapMessage? {
    var (position, looks) = (start, allowed)
    let keyspaces = try eventualKeyspaces()
    let partitionCount = core.ring.partitionCount
    while looks > 0 {
      guard position.index < keyspaces.count * partitionCount else {
        reaping.roundEnded(next: now &+ rule.horizon / 32 &* 1_000_000)
        return nil
      }
      // Opening a cursor counts too.
      looks -= 1
      let keyspace = keyspaces[position.index / partitionCount]
      let partition = position.index % partitionCount
      guard let rank = rank(in: partition, keyspace) else {
        position = NodeReaping.Position(index: position.index + 1)
        reaping.reach(position)
        continue
      }
      let asked = try core.shared.clock.now()
      let horizon = rule.horizon + rule.horizon / 8 * UInt64(rank)
      let seed = environment.randomness.next()
      let (keys, last): ([HashedKey], [UInt8]?)
      do throws(DatabaseError) {
        (keys, last) = try keyspace.reapable(
          of: partition, on: local, before: reapBefore(rule, asked, horizon: horizon), seed: seed,
          after: position.after, looks: &looks, limit: options.reapKeysAtOnce)
      } catch {
        // What is behind it is to have its turn.
        if error.code == .corruption { reaping.reach(NodeReaping.Position(index: position.index + 1)) }
        throw error
      }
      position =
        last.map { NodeReaping.Position(index: position.index, after: $0) }
        ?? NodeReaping.Position(index: position.index + 1)
      reaping.reach(position)
      if keys.isEmpty { continue }
      return ReapMessage(
        MessageHead(keyspace, view.print(of: partition)), partition: partition, asked: asked,
        horizon: rule.horizon, seed: seed, keys: keys)
    }
    return nil
  }

  /// This node's place among the replicas; `nil` where it has none, or not all are within reach.
  private func rank(in partition: Int, _ keyspace: KeyspaceCore) -> Int? {
    guard let replicas = settledReplicas(partition, keyspace), let rank = replicas.firstIndex(of: local.id)
    else { return nil }
    if isBroken(.allReplicas) { return rank }
    let now = now
    return replicas.allSatisfy { $0 == local.id || !peers.isSuspected($0, at: now) } ? rank : nil
  }

  private func ask(_ found: ReapMessage, _ rule: ReapingRule) throws(DatabaseError) {
    var message = found
    try reaping.evidence.cover(rule.before(found.asked), rule, local.id, directory)
    message.keys = try unhinted(message)
    guard !message.keys.isEmpty else { return reaping.end() }
    // A partition that moves by now has others that nobody has asked: not now, then.
    let keyspace = try keyspace(message.head.keyspace)
    guard let replicas = settledReplicas(message.partition, keyspace), replicas.contains(local.id),
      view.print(of: message.partition).print == message.head.ring.print
    else { return reaping.end() }
    let others = replicas.filter { $0 != local.id }
    guard !others.isEmpty else { return reapOwn(message, rule) }
    let asked = message
    let answers = AllAnswers<[ReapVerdict]>(others.count) { [self] answers in
      run(.background) { [self] in agree(asked, others, answers, rule) }
    }
    let limit = now &+ options.requestTimeout.wholeNanoseconds
    for member in others {
      send(NodeMessageKind.reapQuestion, asked.encoded(), to: member, deadline: limit) { result in
        answers.take(
          result.flatMap { bytes in
            answered { () throws(DatabaseError) in
              try ReapMessage.verdicts(bytes, count: asked.keys.count)
            }
          })
      }
    }
  }

  /// The keys of which no hint is kept here.
  private func unhinted(_ message: ReapMessage) throws(DatabaseError) -> [HashedKey] {
    var keys: [HashedKey] = []
    for key in message.keys
    where try !hints.holds(keyspace: message.head.keyspace, partition: message.partition, key.key) {
      keys.append(key)
    }
    return keys
  }

  private func agree(
    _ asked: ReapMessage, _ others: [MemberID], _ answers: [Result<[ReapVerdict], DatabaseError>],
    _ rule: ReapingRule
  ) {
    var all: [[ReapVerdict]] = []
    for answer in answers {
      if case .success(let verdicts) = answer { all.append(verdicts) }
    }
    guard all.count == others.count || isBroken(.allReplicas) else { return putOff() }
    var order = asked
    order.keys = asked.keys.indices.filter { index in
      isBroken(.sameRecord) || all.allSatisfy { $0[index] != .other }
    }.map { asked.keys[$0] }
    guard !order.keys.isEmpty else { return putOff() }
    let agreed = order
    let done = AllAnswers<[UInt8]>(others.count) { [self] outcomes in
      run(.background) { [self] in
        // Where one did not hear of it, the next round is for all.
        let isHeard = outcomes.allSatisfy { if case .success = $0 { true } else { false } }
        if isHeard || isBroken(.allReplicas) { reapOwn(agreed, rule) } else { putOff() }
      }
    }
    let limit = now &+ options.requestTimeout.wholeNanoseconds
    for member in others {
      send(NodeMessageKind.reapOrder, agreed.encoded(), to: member, deadline: limit) { done.take($0) }
    }
  }

  private func putOff() {
    counters.reapsPutOff.wrappingAdd(1, ordering: .relaxed)
    reaping.end()
  }

  private func reapOwn(_ order: ReapMessage, _ rule: ReapingRule) {
    do throws(DatabaseError) { _ = try carryOut(order, rule) } catch {
      counters.reapsPutOff.wrappingAdd(1, ordering: .relaxed)
    }
    reaping.end()
  }

  /// - Returns: how many records have gone.
  private func carryOut(_ order: ReapMessage, _ rule: ReapingRule) throws(DatabaseError) -> Int {
    let before = reapBefore(rule, try core.shared.clock.now(), horizon: order.horizon)
    let keyspace = try keyspace(order.head.keyspace)
    var count = 0
    for key in order.keys
    where try keyspace.reap(key, of: order.partition, on: local, seed: order.seed, before: before) {
      count += 1
      counters.reaped.wrappingAdd(1, ordering: .relaxed)
    }
    return count
  }

  // MARK: - Answering

  /// - Throws: `.unreachable` where this node reaps nothing, or goes by another ring; `.clockOutOfBound`
  ///   where the message was very long on its way; `.foreignStore`, `.invalidArgument`, `.unknownKeyspace`.
  private func checkReaping(_ message: ReapMessage) throws(DatabaseError) -> ReapingRule {
    guard let rule = reaping.rule else {
      throw DatabaseError(.unreachable, "\(local.path) keeps its tombstones: it has no horizon")
    }
    try check(message.head, message.partition)
    let keyspace = try keyspace(message.head.keyspace)
    guard message.partition < core.ring.partitionCount,
      settledReplicas(message.partition, keyspace)?.contains(local.id) == true
    else {
      throw DatabaseError(
        .unreachable, "\(local.path) is no replica of partition \(message.partition), or it is moving")
    }
    let (now, asked) = (try core.shared.clock.now().milliseconds, message.asked.milliseconds)
    guard max(now, asked) - min(now, asked) <= rule.messageLifetime + rule.slack else {
      throw DatabaseError(
        .clockOutOfBound, "a message about reaping was asked at \(asked) ms; it is \(now) ms")
    }
    return rule
  }

  /// Says what this node has of the keys that another one would reap. What it agrees to is durable then.
  func answerReaping(_ body: [UInt8], _ answer: @escaping Answer<[UInt8]>) throws(DatabaseError) {
    let message = try ReapMessage(decoding: body)
    let rule = try checkReaping(message)
    let now = try core.shared.clock.now()
    let before = reapBefore(rule, now, horizon: message.horizon)
    try reaping.evidence.cover(rule.before(now), rule, local.id, directory)
    let keyspace = try keyspace(message.head.keyspace)
    var verdicts: [UInt8] = []
    for key in message.keys {
      var verdict = try keyspace.verdict(
        on: key, of: message.partition, on: local, seed: message.seed, before: before)
      if try hints.holds(keyspace: message.head.keyspace, partition: message.partition, key.key) {
        verdict = .other
      }
      verdicts.append(verdict.rawValue)
    }
    let found = verdicts
    sync(true) { failure in answer(failure.map { .failure($0) } ?? .success(found)) }
  }

  func takeReapOrder(_ body: [UInt8], _ answer: @escaping Answer<[UInt8]>) throws(DatabaseError) {
    let message = try ReapMessage(decoding: body)
    let count = try carryOut(message, try checkReaping(message))
    var writer = FieldWriter()
    writer.write(count: count)
    answer(.success(writer.bytes))
  }

  // MARK: - What comes late

  /// - Throws: `.invalidArgument` for what was read so long ago that what has replaced it may be reaped.
  func checkTimely(_ asOf: Timestamp?) throws(DatabaseError) {
    guard let rule = reaping.rule, let asOf, !isBroken(.lateStates) else { return }
    let now = try core.shared.clock.now()
    guard rule.isLate(asOf, at: now) else { return }
    counters.lateStates.wrappingAdd(1, ordering: .relaxed)
    throw DatabaseError(
      .invalidArgument,
      "a state that was read \(now.milliseconds - asOf.milliseconds) ms ago comes too late: what has "
        + "replaced it may be gone")
  }

  /// Whether a state is to be joined that another node sends.
  ///
  /// - Throws: as ``checkTimely(_:)``, and what reading the key throws.
  func isWelcome(
    _ message: ReplicaMessage, _ record: Record, _ keyspace: KeyspaceCore
  ) throws(DatabaseError) -> Bool {
    try checkTimely(message.asOf)
    guard message.isOld else { return true }
    return try !isLeftOut(record, message.key, keyspace)
  }

  /// Whether a record is nothing but what may be reaped, but for its age: where a replica has nothing of the
  /// key, it may have been reaped there.
  func isEmpty(_ record: Record) -> Bool {
    guard reaping.rule != nil, !isBroken(.noPushes) else { return false }
    let now = Timestamp(milliseconds: core.shared.clock.physicalMilliseconds)
    return StoredRecord(changeNumber: 0, record: record).isReapable(before: now)
  }

  /// Whether a state that is not new is left out here: a replica that has nothing of a key needs no tombstone
  /// of it. Whom a partition moves to does: others may have what the tombstone has replaced.
  func isLeftOut(_ record: Record, _ key: [UInt8], _ keyspace: KeyspaceCore) throws(DatabaseError) -> Bool {
    guard isEmpty(record),
      view.isReplica(local.id, of: try keyspace.partition(of: key), in: keyspace)
    else { return false }
    return try keyspace.held(key) == nil
  }

  /// Whether what is held here of a key may be reaped.
  func isOld(_ key: [UInt8], _ keyspace: KeyspaceCore) throws(DatabaseError) -> Bool {
    guard let rule = reaping.rule else { return false }
    let partition = try keyspace.partition(of: key)
    return try keyspace.isReapable(
      key, of: partition, on: local, before: rule.before(try core.shared.clock.now()))
  }
}
