import RoostCausality
package import RoostEnvironment
import RoostStorage
import Synchronization

// How keys of eventual keyspaces are replicated between processes. Each node holds one store of the database,
// opened without the others (`FoundingStore`); the others are other nodes'.
//
// - Any replica of a key coordinates a write: it changes the record that it holds, as in one process, and
//   sends the new state to the other replicas, which join it into theirs (`QuorumWrite`). A node that is no
//   replica hands the request on to one.
// - A read joins what a quorum of replicas holds (`QuorumRead`), and sends the join to those that had less.
// - What a replica missed is kept as a hint, by the next node behind the preference list or by the
//   coordinator, and handed over when the replica is there again.
//
// Nothing here waits with a lock held, and no thread of the transport runs what may wait for a disk: that is
// the workers' part.

/// One process of a cluster: a store of the cluster's database, and what replicates its keys.
///
/// Thread-safe.
package final class ClusterNode: NodeMessageHandler, @unchecked Sendable {
  package typealias Answer<Value> = @Sendable (Result<Value, DatabaseError>) -> Void

  /// The part of the database that is here.
  package let core: DatabaseCore
  package let options: ClusterOptions
  /// The store that is here.
  package let local: Member
  let transport: any NodeTransport
  let directory: any ClusterDirectory
  let environment: Environment
  package let hints: HintStore
  let peers = NodePeers()
  let counters = NodeCounters()
  private let address: NodeAddress
  private let connect: @Sendable ([NodeID: NodeAddress]) -> Void
  /// Runs what writes; what only reads goes on beside it.
  private let workers: any Workers
  private let readers: any Workers
  /// Sees to the directory, whatever else there is to do: a node that is late there counts as down.
  private let keepers: any Workers
  /// Of comparisons with other replicas, which read for long: nothing else waits behind them.
  private let comparers: any Workers
  private let timers: Timers
  private let keepsTime: Bool
  private let lock = Lock()
  private let peersChanged: Condition
  // Guarded by `lock`.
  private var keyspaces: [UInt64: KeyspaceCore] = [:]
  private var underWay: [UInt64: any UnderWay] = [:]
  private var nextNumber: UInt64 = 0
  private var isTicking = false
  private var isHandingOver = false
  private var isSweeping = false
  /// Whether another process says that it has this node's store.
  private var isSuperseded = false
  private var isClosed = false
  private var lease: DirectoryLease?
  private var watch: DirectoryWatch?
  /// Its own comparisons with other replicas, and the last one that ended.
  let repairs = NodeRepairs()

  /// Takes part in a cluster: founds it with others, or comes back to it.
  ///
  /// - Parameters:
  ///   - path: the directory of the node's store; made where it is missing.
  ///   - options: of the store, and of the database where it is founded: all founders say the same.
  ///   - records: where the cluster's nodes agree.
  ///   - transport: carries the messages; it is to this node what `connect` says.
  ///   - address: where others reach this node.
  ///   - connect: told where the nodes listen, whenever that changes, this node's own place among them. Must
  ///     not wait.
  /// - Throws: `.invalidOption`, `.deadlineExceeded` (too few founders came), `.notAMember` (the cluster was
  ///   founded without this store), `.foreignStore`, `.tooManyReplicas`, and what opening a store or the
  ///   directory throws.
  package static func start(
    at path: String, _ options: DatabaseOptions, _ cluster: ClusterOptions,
    directory records: any ClusterDirectory, transport: any NodeTransport, address: NodeAddress,
    connect: @escaping @Sendable ([NodeID: NodeAddress]) -> Void, _ environment: Environment
  ) throws(DatabaseError) -> ClusterNode {
    try start(
      try ClusterFounding(at: path, options, cluster, directory: records, address: address, environment),
      transport: transport, address: address, connect: connect)
  }

  /// Takes part with a store that has registered.
  ///
  /// - Parameter keepsTime: whether it ticks and beats by itself; a simulation does that in its place.
  /// - Throws: as ``start(at:_:_:directory:transport:address:connect:_:)``.
  package static func start(
    _ founding: ClusterFounding, transport: any NodeTransport, address: NodeAddress, keepsTime: Bool = true,
    connect: @escaping @Sendable ([NodeID: NodeAddress]) -> Void
  ) throws(DatabaseError) -> ClusterNode {
    let core = try founding.finish()
    do throws(DatabaseError) {
      let node = try ClusterNode(core, founding, transport, address, keepsTime, connect)
      try node.begin()
      return node
    } catch {
      try? core.close()
      throw error
    }
  }

  private init(
    _ core: DatabaseCore, _ founding: ClusterFounding, _ transport: any NodeTransport,
    _ address: NodeAddress, _ keepsTime: Bool, _ connect: @escaping @Sendable ([NodeID: NodeAddress]) -> Void
  ) throws(DatabaseError) {
    guard let local = core.presentMembers.first else {
      throw DatabaseError(.closed, "the database is closed")
    }
    self.core = core
    self.local = local
    self.transport = transport
    self.address = address
    self.connect = connect
    self.keepsTime = keepsTime
    options = founding.cluster
    directory = founding.directory
    environment = founding.environment
    hints = try HintStore(local.store)
    workers = environment.makeWorkers()
    readers = environment.makeWorkers()
    keepers = environment.makeWorkers()
    peersChanged = Condition(lock)
    comparers = environment.makeWorkers()
    timers = Timers(environment.time, environment.makeWorkers())
  }

  private func begin() throws(DatabaseError) {
    // Before anybody hears that the node is there.
    transport.attach(self)
    do throws(DatabaseError) { try beat() } catch {
      endThreads()
      throw error
    }
    // The watch may tell of it later only: requests that come at once are to find the others.
    adopt(try directory.records(prefix: ClusterRecordName.nodes))
    let watch = directory.watch(prefix: ClusterRecordName.nodes) { [weak self] records in
      self?.adopt(records)
    }
    lock.withLock { self.watch = watch }
    scheduleBeat()
  }

  /// Takes over where the nodes are.
  private func adopt(_ records: [DirectoryRecord]) {
    connect(peers.adopt(records))
    lock.withLock { peersChanged.broadcast() }
    guard let holder = peers.node(of: local.id), holder != transport.node else { return }
    let isNews = lock.withLock {
      defer { isSuperseded = true }
      return !isSuperseded
    }
    if isNews {
      core.options.warn(
        "node \(holder) says that it has this node's store: one of the two is a copy; this one stops serving")
    }
  }

  /// Waits until each member's node has said where it is, or until the deadline: a cluster that was founded
  /// just now is not all there yet.
  package func waitForOthers(until deadline: UInt64) {
    let members = core.ring.members.map(\.id)
    lock.withLock {
      while !isClosed, now < deadline, members.contains(where: { peers.isSuspected($0, at: now) }) {
        _ = environment.time.wait(on: peersChanged, untilMonotonicNanoseconds: deadline)
      }
    }
  }

  /// Takes no more requests of clients, and calls `done` once those in hand are answered. What replicas ask
  /// goes on.
  package func drain(_ done: @escaping @Sendable () -> Void) { counters.drain(done) }

  /// - Throws: `.closed`; `.unreachable` where another process has this node's store.
  private func checkServing() throws(DatabaseError) {
    let (isClosed, isSuperseded) = lock.withLock { (self.isClosed, self.isSuperseded) }
    if isClosed { throw DatabaseError(.closed, "the node is closed") }
    if isSuperseded { throw DatabaseError(.unreachable, "another process has this node's store") }
  }

  // MARK: - Time

  var now: UInt64 { environment.time.monotonicNanoseconds }

  /// The deadline of a call that comes now and says nothing else.
  package var requestDeadline: UInt64 { now &+ options.requestTimeout.wholeNanoseconds }

  private func scheduleBeat() {
    guard keepsTime else { return }
    let interval = min(options.lease.wholeNanoseconds / 3, 1_000_000_000)
    timers.schedule(atMonotonicNanoseconds: now &+ interval) { [weak self] in
      guard let self, !hasClosed else { return }
      keepers.submit(.background) { [weak self] in
        guard let self, !hasClosed else { return }
        do throws(DatabaseError) { try beat() } catch {
          core.options.warn("the cluster's directory could not be told of this node: \(error)")
        }
        scheduleBeat()
      }
    }
  }

  /// What is to be done now and then: says in the directory that this node is there, hands hints over, and
  /// compares a share of what is here with the other replicas.
  ///
  /// - Throws: what the directory throws.
  package func beat() throws(DatabaseError) {
    let outcome = answered { () throws(DatabaseError) in try announce() }
    handHintsOver()
    repairInBackground()
    sweepHints()
    try outcome.get()
  }

  private func sweepHints() {
    let mayBegin = lock.withLock {
      if isSweeping || isClosed { return false }
      isSweeping = true
      return true
    }
    guard mayBegin else { return }
    run(.background) { [self] in
      if let now = try? core.shared.clock.now() { _ = try? hints.dropExpired(at: now) }
      lock.withLock { isSweeping = false }
    }
  }

  /// Where a lease is over (the process was held up for long), a new one takes its place.
  ///
  /// Once another process says that it has this store, this one says nothing more.
  private func announce() throws(DatabaseError) {
    if lock.withLock({ isSuperseded }) { return }
    let known = lock.withLock { self.lease }
    if let known { if try directory.renew(known) { return } }
    let lease = try directory.grantLease(options.lease)
    let name = ClusterRecordName.node(transport.node)
    let record = NodeRecord(member: local.id, address: address)
    let old = try directory.record(name)
    let version = try directory.compareAndSet(
      name, version: old?.version ?? 0, record.encoded(), lease: lease)
    let isLate = lock.withLock {
      // Where it was not written, the next beat tries again.
      if !isClosed { self.lease = version == nil ? nil : lease }
      return isClosed
    }
    if isLate || version == nil { try? directory.revoke(lease) }
  }

  /// Ends what has taken too long, and asks further replicas where reads wait for long.
  package func tick() {
    // In the order in which they began: a simulation of the same seed is to be the same each time.
    let operations = lock.withLock { underWay.sorted { $0.key < $1.key }.map(\.value) }
    let now = now
    for operation in operations { operation.look(at: now) }
    let isLeft = lock.withLock {
      isTicking = !underWay.isEmpty && !isClosed
      return isTicking
    }
    if isLeft { scheduleTick() }
  }

  private func scheduleTick() {
    guard keepsTime else { return }
    timers.schedule(atMonotonicNanoseconds: now &+ 10_000_000) { [weak self] in self?.tick() }
  }

  // MARK: - Work

  /// Runs `job` on a thread that may wait.
  func run(_ lane: WorkLane = .urgent, _ job: @escaping @Sendable () -> Void) {
    workers.submit(lane, job)
    runHere()
  }

  /// The same for what only reads.
  func runReading(_ job: @escaping @Sendable () -> Void) {
    readers.submit(.urgent, job)
    runHere()
  }

  /// The same for what somebody waits for: `refused` is called where the node is closed, or the deadline
  /// passes, before its turn.
  func run(
    _ lane: WorkLane = .urgent, until deadline: UInt64, refused: @escaping @Sendable (DatabaseError) -> Void,
    _ job: @escaping @Sendable () -> Void
  ) {
    let waiting = WaitingCall(until: deadline, refused)
    let number = enlist(waiting)
    run(lane) { [self] in
      strike(number)
      if waiting.begin() { job() }
    }
  }

  /// Where the workers have no threads of their own (the simulator's), the caller's does the work.
  private func runHere() { while workers.runOneHere() || readers.runOneHere() || comparers.runOneHere() {} }

  /// Runs `job` on the thread of comparisons with other replicas.
  func runComparison(_ job: @escaping @Sendable () -> Void) {
    comparers.submit(.background, job)
    runHere()
  }

  private var hasClosed: Bool { lock.withLock { isClosed } }

  /// Notes an operation, which is looked at until it is struck. Once the node is closed it is ended at once.
  func enlist(_ operation: any UnderWay) -> UInt64 {
    let (number, mustTick) = lock.withLock { () -> (UInt64?, Bool) in
      if isClosed { return (nil, false) }
      nextNumber += 1
      underWay[nextNumber] = operation
      defer { isTicking = true }
      return (nextNumber, !isTicking)
    }
    guard let number else {
      operation.end()
      return 0
    }
    if mustTick { scheduleTick() }
    return number
  }

  func strike(_ number: UInt64) { lock.withLock { _ = underWay.removeValue(forKey: number) } }

  // MARK: - Requests of clients

  /// Does what a client asks, here or at a replica.
  ///
  /// - Parameters:
  ///   - deadline: when the client stops waiting, by the monotonic clock, in nanoseconds.
  ///   - reply: called once, from any thread, perhaps before this returns. Failures: as the calls of
  ///     `Keyspace`, and `.unreachable` (fewer replicas than asked for are there: nothing was written),
  ///     `.indeterminate` (fewer have acknowledged: it may still appear), `.deadlineExceeded`, `.busy`.
  package func perform(_ request: KeyRequest, deadline: UInt64, _ reply: @escaping Answer<KeyAnswer>) {
    do throws(DatabaseError) { try enter() } catch { return reply(.failure(error)) }
    let counted: Answer<KeyAnswer> = { [counters] result in
      counters.leave()
      reply(result)
    }
    run(until: deadline, refused: { counted(.failure($0)) }) { [self] in begin(request, deadline, counted) }
  }

  /// Counts a client's call in.
  ///
  /// - Throws: `.busy`, `.closed`.
  func enter() throws(DatabaseError) {
    switch counters.enter(limit: options.requestLimit) {
    case .entered: return
    case .full:
      throw DatabaseError(.busy, "the node has \(options.requestLimit) requests in hand already")
    case .draining: throw DatabaseError(.closed, "the node is about to leave")
    }
  }

  private func begin(_ request: KeyRequest, _ deadline: UInt64, _ reply: @escaping Answer<KeyAnswer>) {
    do throws(DatabaseError) {
      try checkServing()
      guard now < deadline else {
        throw DatabaseError(.deadlineExceeded, "the request came with no time left")
      }
      if request.isConditional, request.context == nil {
        throw DatabaseError(.invalidArgument, "a condition needs the context of a read")
      }
      try checkSize(request)
      let keyspace = try keyspace(request.keyspace)
      let place = try place(keyspace, request.key, quorum: request.quorum, isSynced: request.isSynced)
      guard place.isReplica else {
        return handOn(request, place, ArraySlice(inOrderOfTrust(place.replicas)), deadline, nil, reply)
      }
      switch request.operation {
      case .get:
        read(place, deadline) { result in reply(result.map { place.answer($0) }) }
      case .remove:
        // What is seen here goes: all that a read would show.
        catchUp(place, deadline) { [self] result in
          if case .failure(let error) = result { return reply(.failure(error)) }
          write(request, place, deadline, reply)
        }
      case .delete where request.context == nil:
        // What a read would show goes: some of it may be known elsewhere only.
        read(place, deadline) { [self] result in
          switch result {
          case .failure(let error): reply(.failure(error))
          case .success(let record):
            var request = request
            request.context = place.context(record)
            let asked = request
            run(until: deadline, refused: { reply(.failure($0)) }) { [self] in
              write(asked, place, deadline, reply)
            }
          }
        }
      default:
        if let dot = request.context?.dot, try place.keyspace.held(place.key)?.context.contains(dot) != true {
          return bring(dot, request, place, deadline, reply)
        }
        write(request, place, deadline, reply)
      }
    } catch { reply(.failure(error)) }
  }

  /// What no other node would take must not be written here either.
  private func checkSize(_ request: KeyRequest) throws(DatabaseError) {
    let count =
      switch request.operation {
      case .put(let value, _): value.count
      case .add(let element), .remove(let element): element.count
      case .get, .delete, .increment: 0
      }
    let limit = transport.largestBody - Self.headroom
    if count + request.key.count > limit {
      throw DatabaseError(
        .invalidArgument, "\(count + request.key.count) bytes; the cluster's nodes take up to \(limit)")
    }
  }

  /// Of a message's body, for what stands beside a key and a value.
  private static let headroom = 64 << 10

  /// A context may name one write more than its vector claims: its writer's own, beside siblings that were
  /// not read. A replica that has never seen that write cannot replace it, and it would come back with the
  /// next message. So it is brought here first.
  private func bring(
    _ dot: Dot, _ request: KeyRequest, _ place: KeyPlace, _ deadline: UInt64,
    _ reply: @escaping Answer<KeyAnswer>
  ) {
    read(place, deadline) { [self] result in
      switch result {
      case .failure(let error): reply(.failure(error))
      case .success(let record):
        run(until: deadline, refused: { reply(.failure($0)) }) { [self] in
          do throws(DatabaseError) {
            guard let record, record.context.contains(dot) else {
              throw DatabaseError(
                .unreachable,
                "the context names a write that no replica within reach has: read the key again")
            }
            _ = try unsafe place.keyspace.join(place.key.span.bytes, record)
            write(request, place, deadline, reply)
          } catch { reply(.failure(error)) }
        }
      }
    }
  }

  private func write(
    _ request: KeyRequest, _ place: KeyPlace, _ deadline: UInt64, _ reply: @escaping Answer<KeyAnswer>
  ) {
    do throws(DatabaseError) {
      let context = try place.keyspace.write(request)
      do throws(DatabaseError) {
        try replicate(place, deadline) { result in reply(result.map { KeyAnswer(context: context) }) }
      } catch {
        throw DatabaseError(
          .indeterminate, "the write was applied, and could not be sent to other replicas: \(error.message)",
          cause: error.cause)
      }
    } catch { reply(.failure(error)) }
  }

  /// Sends a request to the replicas, one after the other, until one has taken it.
  private func handOn(
    _ request: KeyRequest, _ place: KeyPlace, _ candidates: ArraySlice<MemberID>, _ deadline: UInt64,
    _ last: DatabaseError?, _ reply: @escaping Answer<KeyAnswer>
  ) {
    if request.isHandedOn {
      return reply(
        .failure(
          DatabaseError(.unreachable, "the request was handed on to \(local.path), which is no replica")))
    }
    guard let next = candidates.first else {
      let none = DatabaseError(.unreachable, "no replica of partition \(place.partition) is within reach")
      return reply(.failure(last ?? none))
    }
    // So few at a time that the nodes' own messages about writes always find room beside them.
    guard counters.enterHandingOn() else {
      return reply(.failure(DatabaseError(.busy, "too many requests wait at other nodes already")))
    }
    let rest = candidates.dropFirst()
    guard let node = peers.node(of: next) else {
      counters.leaveHandingOn()
      return handOn(request, place, rest, deadline, last, reply)
    }
    var handed = request
    handed.isHandedOn = true
    let message = NodeMessage(kind: NodeMessageKind.key, body: handed.encoded())
    // A read can be asked again elsewhere.
    let patience = now &+ 2 &* options.replicaTimeout.wholeNanoseconds
    let limit = request.isWrite ? deadline : min(deadline, patience)
    transport.request(message, of: node, deadline: limit) { [self] result in
      counters.leaveHandingOn()
      let failure: DatabaseError
      switch result {
      case .success(let body):
        let answer = answered { () throws(DatabaseError) in
          try KeyAnswer(decoding: NodeAnswer.decode(body))
        }
        // These say that nothing was done.
        guard case .failure(let error) = answer, [.closed, .busy, .unreachable].contains(error.code) else {
          return reply(answer)
        }
        failure = error
      case .failure(let error):
        failure = NodeAnswer.failure(error, of: "node \(node)", isWrite: request.isWrite)
        if failure.code == .indeterminate { return reply(.failure(failure)) }
      }
      handOn(request, place, rest, deadline, failure, reply)
    }
  }

  // MARK: - Keyspaces

  /// A keyspace by its name; asks the directory for one that is not known here.
  ///
  /// - Throws: `.unknownKeyspace`, `.wrongPolicy` where it is transactional, `.closed`, what the directory or
  ///   the store throws.
  package func keyspace(_ name: String) throws(DatabaseError) -> KeyspaceCore {
    if !core.keyspaceEntries.contains(where: { $0.name == name }) { try learnKeyspaces() }
    let keyspace = try core.keyspace(name, nil)
    try keyspace.checkEventual()
    return keyspace
  }

  func keyspace(_ id: UInt64) throws(DatabaseError) -> KeyspaceCore {
    if let known = lock.withLock({ keyspaces[id] }) { return known }
    if !core.keyspaceEntries.contains(where: { $0.id == id }) { try learnKeyspaces() }
    guard let entry = core.keyspaceEntries.first(where: { $0.id == id }) else {
      throw DatabaseError(.unknownKeyspace, "there is no keyspace with the id \(id)")
    }
    let opened = try keyspace(entry.name)
    lock.withLock { keyspaces[id] = opened }
    return opened
  }

  private func learnKeyspaces() throws(DatabaseError) {
    guard let record = try directory.record(ClusterRecordName.schema) else { return }
    try core.adopt(try Schema(decoding: record.value).keyspaces)
  }

  /// Makes a keyspace in the whole cluster, or finds that it is there.
  ///
  /// - Throws: `.invalidArgument` (the name), `.wrongPolicy` (it is there with another policy, or is to be
  ///   transactional, which a cluster does not have), `.busy` (others changed the schema all the while), what
  ///   the directory or the store throws.
  package func makeKeyspace(_ request: KeyspaceRequest) throws(DatabaseError) {
    if let problem = Schema.problem(name: request.name, of: "a keyspace's name") { throw problem }
    guard request.kind != .transactional else {
      throw DatabaseError(
        .wrongPolicy, "the keyspace `\(request.name)` cannot be transactional: it is one of a cluster")
    }
    for _ in 0..<16 {
      let record = try directory.record(ClusterRecordName.schema)
      var schema = Schema()
      if let record { schema = try Schema(decoding: record.value) }
      if let known = schema.keyspace(request.name) {
        guard known.kind == request.kind else {
          throw DatabaseError(
            .wrongPolicy,
            "the keyspace `\(request.name)` was created with the policy \(known.kind), not \(request.kind)")
        }
        return try core.adopt(schema.keyspaces)
      }
      let id = (schema.keyspaces.map(\.id).max() ?? 0) + 1
      _ = schema.adopt([
        Schema.Keyspace(
          id: id, name: request.name, kind: request.kind, replicas: core.ring.replicas, indexes: [])
      ])
      schema.revision += 1
      let version = try directory.compareAndSet(
        ClusterRecordName.schema, version: record?.version ?? 0, schema.encoded(), lease: nil)
      if version != nil { return try core.adopt(schema.keyspaces) }
    }
    throw DatabaseError(.busy, "the cluster's keyspaces are being changed by others")
  }

  // MARK: - Messages

  package func heard(_ sign: NodeSign) { peers.heard(sign.node, at: now) }

  package func receive(_ message: ReceivedMessage) {
    switch message.message.kind {
    case NodeMessageKind.apply:
      serve(message) { [self] body, answer throws(DatabaseError) in try apply(body, answer) }
    case NodeMessageKind.fetch:
      serve(message, isReading: true) { [self] body, answer throws(DatabaseError) in try fetch(body, answer) }
    case NodeMessageKind.hint:
      serve(message) { [self] body, answer throws(DatabaseError) in try takeHint(body, answer) }
    case NodeMessageKind.key:
      do throws(DatabaseError) {
        let request = try KeyRequest(decoding: message.message.body)
        perform(request, deadline: message.deadline) { result in
          message.answer(NodeAnswer.encode(result.map { $0.encoded() }))
        }
      } catch { message.answer(NodeAnswer.encode(.failure(error))) }
    case NodeMessageKind.makeKeyspace:
      serve(message, .background) { [self] body, answer throws(DatabaseError) in
        try makeKeyspace(try KeyspaceRequest(decoding: body))
        answer(.success([]))
      }
    case NodeMessageKind.status:
      serve(message) { [self] _, answer in answer(.success(status.encoded())) }
    case NodeMessageKind.repair:
      // A little before the client stops waiting, so that it is told what was done by then.
      let left = message.deadline &- min(now, message.deadline)
      repair(until: message.deadline &- min(left / 10, 1_000_000_000)) { result in
        message.answer(NodeAnswer.encode(result.map { $0.encoded() }))
      }
    case NodeMessageKind.compare:
      runComparison { [self] in
        message.answer(
          NodeAnswer.encode(
            answered { () throws(DatabaseError) in
              try compare(message.message.body) { message.isCancelled || hasClosed }
            }))
      }
    default:
      message.answer(
        .failure(
          TransportError(
            .failed, "node \(transport.node) knows no messages of kind \(message.message.kind)")))
    }
  }

  /// Runs what a message asks for on a worker, and answers with what it throws.
  private func serve(
    _ message: ReceivedMessage, _ lane: WorkLane = .urgent, isReading: Bool = false,
    _ body: @escaping @Sendable ([UInt8], @escaping Answer<[UInt8]>) throws(DatabaseError) -> Void
  ) {
    let job: @Sendable () -> Void = { [self] in
      let answer: Answer<[UInt8]> = { message.answer(NodeAnswer.encode($0)) }
      // What nobody waits for any more is not worth doing.
      if message.isCancelled { return answer(.failure(DatabaseError(.deadlineExceeded, "too late"))) }
      do throws(DatabaseError) {
        try checkServing()
        try body(message.message.body, answer)
      } catch { answer(.failure(error)) }
    }
    if isReading { runReading(job) } else { run(lane, job) }
  }

  /// A message of a replica, if it is of this database and goes by the same ring.
  private func replicaMessage(_ body: [UInt8]) throws(DatabaseError) -> ReplicaMessage {
    let message = try ReplicaMessage(decoding: body)
    try check(message.database, message.epoch)
    return message
  }

  /// - Throws: `.foreignStore`, `.unreachable`: another database's, or by another ring.
  func check(_ database: DatabaseID, _ epoch: UInt64) throws(DatabaseError) {
    guard database == core.id else {
      throw DatabaseError(.foreignStore, "the message is of the database \(database), not \(core.id)")
    }
    let own = core.ring.epoch
    guard epoch == own else {
      throw DatabaseError(.unreachable, "the message goes by the ring of epoch \(epoch), not \(own)")
    }
  }

  private func apply(_ body: [UInt8], _ answer: @escaping Answer<[UInt8]>) throws(DatabaseError) {
    let message = try replicaMessage(body)
    guard let record = message.record else {
      throw DatabaseError(.invalidArgument, "a message without the state that it brings")
    }
    let keyspace = try keyspace(message.keyspace)
    _ = try unsafe keyspace.join(message.key.span.bytes, record)
    sync(message.isSynced) { failure in answer(failure.map { .failure($0) } ?? .success([])) }
  }

  private func fetch(_ body: [UInt8], _ answer: @escaping Answer<[UInt8]>) throws(DatabaseError) {
    let message = try replicaMessage(body)
    answer(.success(ReplicaMessage.bytes(of: try keyspace(message.keyspace).held(message.key))))
  }

  private func takeHint(_ body: [UInt8], _ answer: @escaping Answer<[UInt8]>) throws(DatabaseError) {
    let message = try replicaMessage(body)
    guard let record = message.record else {
      throw DatabaseError(.invalidArgument, "a hint without a state")
    }
    // One that the target would refuse must not be taken for kept.
    try core.shared.clock.check(
      record.highestTimestamp, maximumOffsetMilliseconds: core.shared.maximumClockOffsetMilliseconds)
    try keepHint(for: message.target, try keyspace(message.keyspace), message.key, record)
    sync(true) { failure in answer(failure.map { .failure($0) } ?? .success([])) }
  }

  /// Keeps a state for another member's store.
  func keepHint(
    for target: MemberID, _ keyspace: KeyspaceCore, _ key: [UInt8], _ record: Record
  ) throws(DatabaseError) {
    try hints.keep(
      for: target, keyspace: keyspace.schemaID, partition: try keyspace.partition(of: key), key, record,
      at: try core.shared.clock.now(), .applied)
  }

  /// Calls `then` once what was written here before survives the machine, where that is asked for.
  func sync(_ isAsked: Bool, _ then: @escaping @Sendable (DatabaseError?) -> Void) {
    if isAsked { local.calls.sync(then) } else { then(nil) }
  }

  // MARK: - Hints

  /// Hands over what is kept for members that are there, as much as a second's worth.
  private func handHintsOver() {
    let mayBegin = lock.withLock {
      if isHandingOver || isClosed { return false }
      isHandingOver = true
      return true
    }
    guard mayBegin else { return }
    let targets = hints.statistics.hints.keys.sorted().filter { !peers.isSuspected($0, at: now) }
    HintHandover(self, targets, byteLimit: options.hintBytesPerSecond) { [self] in
      lock.withLock { isHandingOver = false }
    }.begin()
  }

  // MARK: - The end

  /// Leaves: what is under way fails, the store keeps what it has, and the directory is told.
  ///
  /// - Throws: the first failure; the store is closed all the same.
  package func close() throws(DatabaseError) {
    let (operations, lease, watch) = lock.withLock {
      () -> ([any UnderWay], DirectoryLease?, DirectoryWatch?) in
      if isClosed { return ([], nil, nil) }
      isClosed = true
      peersChanged.broadcast()
      defer {
        underWay = [:]
        self.lease = nil
        self.watch = nil
      }
      return (underWay.sorted { $0.key < $1.key }.map(\.value), self.lease, self.watch)
    }
    watch?.cancel()
    repairs.end()
    for operation in operations { operation.end() }
    // Where the directory cannot be told, the lease tells.
    if let lease { try? directory.revoke(lease) }
    endThreads()
    try core.close()
  }

  private func endThreads() {
    timers.stop()
    timers.shutdown()
    keepers.shutdown()
    workers.shutdown()
    readers.shutdown()
    comparers.shutdown()
  }
}

/// An operation that waits for other nodes.
protocol UnderWay: AnyObject, Sendable {
  /// Does what is due by now.
  func look(at nanoseconds: UInt64)
  /// Ends it: the node is closed.
  func end()
}

/// A call that waits for its turn on a worker. Thread-safe.
private final class WaitingCall: UnderWay {
  private let hasEnded = Atomic<Bool>(false)
  private let deadline: UInt64
  private let refused: @Sendable (DatabaseError) -> Void

  init(until deadline: UInt64, _ refused: @escaping @Sendable (DatabaseError) -> Void) {
    self.deadline = deadline
    self.refused = refused
  }

  /// - Returns: `false` where it was refused.
  func begin() -> Bool { !hasEnded.exchange(true, ordering: .acquiringAndReleasing) }

  func look(at nanoseconds: UInt64) {
    guard nanoseconds >= deadline, begin() else { return }
    refused(DatabaseError(.deadlineExceeded, "the call waited for its turn until its deadline"))
  }

  func end() { if begin() { refused(DatabaseError(.closed, "the node is closed")) } }
}

/// What a node counts. Thread-safe.
final class NodeCounters: @unchecked Sendable {
  private let requests = Atomic<Int>(0)
  private let isDraining = Atomic<Bool>(false)
  private let lock = Lock()
  // Guarded by `lock`.
  private var drained: [@Sendable () -> Void] = []
  let writes = Atomic<UInt64>(0)
  let reads = Atomic<UInt64>(0)
  let indeterminateWrites = Atomic<UInt64>(0)
  let unavailableReads = Atomic<UInt64>(0)
  let repairs = Atomic<UInt64>(0)

  enum Entry {
    case entered
    case full
    case draining
  }

  func enter(limit: Int) -> Entry {
    // Before the look at the word: either this sees it, or who sets it sees this.
    let count = requests.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
    if isDraining.load(ordering: .sequentiallyConsistent) {
      leave()
      return .draining
    }
    if count <= limit { return .entered }
    leave()
    return .full
  }

  func leave() {
    let count = requests.wrappingSubtract(1, ordering: .sequentiallyConsistent).newValue
    if count == 0, isDraining.load(ordering: .sequentiallyConsistent) { tellDrained() }
  }

  /// Lets nobody enter any more, and calls `done` once the last has left.
  func drain(_ done: @escaping @Sendable () -> Void) {
    lock.withLock { drained.append(done) }
    isDraining.store(true, ordering: .sequentiallyConsistent)
    if requests.load(ordering: .sequentiallyConsistent) == 0 { tellDrained() }
  }

  private func tellDrained() {
    let all = lock.withLock {
      defer { drained = [] }
      return drained
    }
    for done in all { done() }
  }

  /// Requests that this node may have handed on at a time: half of what another one takes of it.
  private static let handedOnLimit = 128
  private let handedOn = Atomic<Int>(0)

  /// - Returns: `false` where there are too many already.
  func enterHandingOn() -> Bool {
    if handedOn.wrappingAdd(1, ordering: .relaxed).newValue <= Self.handedOnLimit { return true }
    leaveHandingOn()
    return false
  }

  func leaveHandingOn() { handedOn.wrappingSubtract(1, ordering: .relaxed) }
}

/// The outcome of a call, as a value.
func answered<Value>(_ body: () throws(DatabaseError) -> Value) -> Result<Value, DatabaseError> {
  do throws(DatabaseError) { return .success(try body()) } catch { return .failure(error) }
}

extension Duration {
  /// Of what was checked to be neither negative nor too long.
  var wholeNanoseconds: UInt64 {
    let (seconds, attoseconds) = components
    return UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
  }
}
