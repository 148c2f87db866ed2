import RoostCausality
import RoostEnvironment
import RoostSimulation
import RoostStorage
import RoostTransactions
import TestSupport

@testable import RoostCluster

/// What a bank's transfers were told, to be compared with what a later opening finds.
struct BankLedger {
  struct Transfer {
    var id: TransactionID
    var hasEffect: Bool
    var isAcknowledged = false
    /// Acknowledged as one that survives power loss.
    var isDurable = false
    var isAborted = false
  }

  var transfers: [Transfer] = []
}

/// A simulated bank over stores that come and go, with transfers that must be answered before a call returns;
/// some keep their locks for a while first. Each transfer leaves a key of its own, and most an effect.
final class MovingBank {
  static let accountCount = 24
  static let opening = 100

  let world: TransferWorld
  let replicas: Int
  private(set) var core: DatabaseCore
  private(set) var manager: TransactionManager
  private(set) var accounts: KeyspaceCore
  private(set) var statistics: KeyspaceCore
  let transport = HeldTransport()
  var ledger = BankLedger()
  /// Directories that may hold stores of the database.
  private(set) var stores: [Int]
  private var open: [TransactionCore] = []
  /// Balances at a time, to be read again later.
  private var past: [(time: Timestamp, balances: [Int?])] = []
  private(set) var met = (commits: 0, moving: 0)

  private var jobs = SplitMix64(seed: 77)

  /// Runs one waiting job of any workers.
  @discardableResult
  func pump() -> Bool { world.runOne(&jobs) }

  static func options(_ options: inout DatabaseOptions) {
    // Timers that a test runs move the clock far.
    options.transactions.versionRetention = .seconds(86_400 * 30)
    options.transactions.outcomeRetention = .seconds(86_400 * 30)
  }

  init(_ world: TransferWorld, stores: [Int], replicas: Int = 1) throws {
    self.world = world
    self.stores = stores
    self.replicas = replicas
    core = try world.open(stores, replicas: replicas, partitions: 8, Self.options)
    accounts = try core.keyspace("accounts", .transactional)
    statistics = try core.keyspace("statistics", .eventual)
    manager = try TransactionManager(core, transport: transport)
    let first = try TransactionCore(manager)
    for number in 0..<Self.accountCount { try first.write(reference(account(number)), text(Self.opening)) }
    guard case .committed = try commit(first, isSynced: true) else { throw Mismatch("it does not begin") }
  }

  /// Opens what another left behind, with whichever of its directories are members, and checks it.
  init(_ world: TransferWorld, after other: MovingBank, _ loss: RebalanceLedger.Loss) throws {
    self.world = world
    replicas = other.replicas
    ledger = other.ledger
    (core, stores) = try Self.openMembers(world, other.stores, replicas)
    accounts = try core.keyspace("accounts", .transactional)
    statistics = try core.keyspace("statistics", .eventual)
    manager = try TransactionManager(core, transport: transport)
    try check(after: loss)
    settleLedger()
  }

  static func openMembers(
    _ world: TransferWorld, _ stores: [Int], _ replicas: Int
  ) throws -> (DatabaseCore, [Int]) {
    var stores = stores
    while true {
      do {
        return (try world.open(stores, replicas: replicas, partitions: 8, options), stores)
      } catch let error as DatabaseError where error.code == .notAMember && stores.count > 1 {
        let stranger = stores.first { error.message.hasPrefix(TransferWorld.path($0) + " ") }
        guard let stranger else { throw error }
        stores.removeAll { $0 == stranger }
      }
    }
  }

  func close() throws {
    try manager.close()
    try core.close()
  }

  /// Closes cleanly, and opens again.
  func reopen() throws {
    try close()
    open = []
    past = []
    (core, stores) = try Self.openMembers(world, stores, replicas)
    accounts = try core.keyspace("accounts", .transactional)
    statistics = try core.keyspace("statistics", .eventual)
    manager = try TransactionManager(core, transport: transport)
    try check(after: .none)
  }

  // MARK: - Keys and calls

  func account(_ number: Int) -> String { "account\(number)" }

  func partition(_ name: String) -> Int {
    Placement.partition(ofHash: name.withKeyBytes { Placement.hash($0) }, count: 8)
  }

  func reference(_ name: String) -> KeyReference {
    KeyReference(
      keyspace: accounts.schemaID, partition: partition(name), key: Array(name.utf8))
  }

  func owner(_ name: String) throws -> Member { try core.shared.transactionalOwner(partition(name)) }

  func text(_ number: Int) -> [UInt8] { Array("\(number)".utf8) }

  /// Reads and locks; `nil` where the transaction was aborted.
  func read(_ name: String, in transaction: TransactionCore) throws -> Int?? {
    let target = reference(name)
    let (own, owner) = try transaction.look(target)
    if let own { return .some(own.flatMap { Int(String(decoding: $0, as: UTF8.self)) }) }
    let answer = Answer<Result<ReadAnswer, TransactionAborted>>()
    manager.acquire(transaction.id, at: owner, [.shared(target)], .keys([target])) { answer.set($0) }
    switch answer.value {
    case .success(let found):
      return .some(found.entries.first.flatMap { Int(String(decoding: $0.value, as: UTF8.self)) })
    case .failure(let aborted):
      if aborted.reason == .moving { met.moving += 1 }
      return nil
    case nil:
      // It waits for the locks of one that was left open.
      return nil
    }
  }

  func commit(_ transaction: TransactionCore, isSynced: Bool) throws -> TransactionOutcome? {
    let answer = Answer<TransactionOutcome>()
    try transaction.commit(isSynced: isSynced) { answer.set($0) }
    return answer.value
  }

  /// The values of keys at a time; the reads of a partition on its way are done once it has arrived.
  func values(_ names: [String], at time: Timestamp) throws -> [[UInt8]?] {
    try names.map { name in
      for _ in 0..<100_000 {
        let answer = Answer<Result<ReadAnswer, DatabaseError>>()
        manager.snapshot(.keys([reference(name)]), at: time, of: try owner(name).id) { answer.set($0) }
        switch answer.value {
        case .success(let found): return found.entries.first?.value
        case .failure(let error) where error.code == .busy: break
        case .failure(let error): throw error
        case nil: break
        }
        guard pump() else { throw Mismatch("the read of \(name) waits for ever") }
      }
      throw Mismatch("the read of \(name) is never answered")
    }
  }

  func balances(at time: Timestamp) throws -> [Int?] {
    try values((0..<Self.accountCount).map(account), at: time).map {
      $0.flatMap { Int(String(decoding: $0, as: UTF8.self)) }
    }
  }

  // MARK: - Steps

  func step(_ random: inout SplitMix64) throws {
    switch random.below(100) {
    case 0..<40: try transfer(&random)
    case 40..<46: try begin(&random)
    case 46..<54: if !open.isEmpty { open.remove(at: random.below(open.count)).abort() }
    case 54..<58: try checkTotal()
    case 58..<62: try remember()
    case 62..<64: try changeRing(&random)
    default: world.runOne(&random)
    }
  }

  /// Takes a lock and keeps it.
  private func begin(_ random: inout SplitMix64) throws {
    if open.count > 2 { return }
    let transaction = try TransactionCore(manager)
    if try read(account(random.below(Self.accountCount)), in: transaction) != nil { open.append(transaction) }
  }

  func transfer(_ random: inout SplitMix64) throws {
    let from = random.below(Self.accountCount)
    let to = (from + 1 + random.below(Self.accountCount - 1)) % Self.accountCount
    let transaction = try TransactionCore(manager)
    guard let source = try read(account(from), in: transaction),
      let target = try read(account(to), in: transaction), let source, let target
    else { return transaction.abort() }
    let hasEffect = random.below(4) > 0
    let number = ledger.transfers.count
    ledger.transfers.append(BankLedger.Transfer(id: transaction.id, hasEffect: hasEffect))
    try transaction.write(reference(account(from)), text(source - 1))
    try transaction.write(reference(account(to)), text(target + 1))
    try transaction.write(reference("transfer\(number)"), text(number))
    if hasEffect {
      try transaction.add(
        keyspace: statistics.schemaID, Array("done".utf8), partition: partition("done"), .increment(1))
    }
    let isSynced = random.below(2) == 0
    switch try commit(transaction, isSynced: isSynced) {
    case .committed:
      met.commits += 1
      ledger.transfers[number].isAcknowledged = true
      ledger.transfers[number].isDurable = isSynced
    case .aborted(let reason):
      if reason == .moving { met.moving += 1 }
      ledger.transfers[number].isAborted = true
    case .unknown, nil: break
    }
  }

  private func remember() throws {
    let time = try manager.now()
    past.append((time, try balances(at: time)))
    if past.count > 8 { past.removeFirst() }
    for (time, balances) in past {
      let found = try self.balances(at: time)
      try require(found == balances, "at \(time) it was \(balances) once, and is \(found)")
    }
  }

  func checkTotal() throws {
    let balances = try balances(at: try manager.now())
    let total = balances.reduce(0) { $0 + ($1 ?? 0) }
    try require(
      total == Self.accountCount * Self.opening && !balances.contains(nil),
      "the total is \(total): \(balances)")
  }

  func changeRing(_ random: inout SplitMix64) throws {
    let staying = core.ringSnapshot.ring.staying
    switch random.below(3) {
    case 0 where staying.count < 5:
      let present = core.presentMembers.map(\.path)
      guard let free = (0..<8).first(where: { !present.contains(TransferWorld.path($0)) }) else { return }
      try addStore(free)
    case 1 where staying.count > replicas + 1:
      do { try core.removeStore(staying[random.below(staying.count)].id) } catch {
        // It holds no partition, and coordinates what nobody ends meanwhile.
        guard error.code == .busy else { throw error }
      }
    default:
      try core.changeStore(staying[random.below(staying.count)].id, weight: 50 + random.below(300), zone: nil)
    }
    stores = Set(stores + core.presentMembers.compactMap { Int($0.path.dropFirst(7)) }).sorted()
  }

  func addStore(_ number: Int) throws {
    // A crash within finds the directory.
    if !stores.contains(number) { stores.append(number) }
    _ = try core.addStore(TransferWorld.path(number), weight: 100, zone: "")
  }

  func removeStore(_ number: Int) throws {
    try core.removeStore(try core.memberID(at: TransferWorld.path(number)))
  }

  /// Ends what keeps locks, and carries all moves out.
  func finish() throws {
    for transaction in open { transaction.abort() }
    open = []
    // What is told again is told by timers.
    var count = 0
    while !core.rebalance.isBalanced, count < 200_000, pump() { count += 1 }
    try require(
      core.rebalance.isBalanced, "it does not settle: \(String(describing: core.rebalance.failure))")
    try check(after: .none)
    core.shared.repairs.finish()
    try core.checkPlacement()
  }

  // MARK: - Checks

  /// What was told is so: money, transfers, their effects and their outcomes.
  func check(after loss: RebalanceLedger.Loss) throws {
    // What was in doubt asks by itself, and what was decided is told again.
    var count = 0
    while !manager.inDoubt.isEmpty, count < 500, pump() { count += 1 }
    try require(manager.inDoubt.isEmpty, "in doubt: \(manager.inDoubt.map(\.doubt))")
    try checkTotal()
    let found = try values(
      ledger.transfers.indices.map { "transfer\($0)" }, at: try manager.now()
    ).map { $0 != nil }
    for (number, transfer) in ledger.transfers.enumerated() {
      let isThere = found[number]
      let must = loss == .power ? transfer.isDurable : transfer.isAcknowledged
      try require(isThere || !must, "transfer \(number) was acknowledged, and is gone after \(loss)")
      try require(!isThere || !transfer.isAborted, "transfer \(number) was aborted, and is there")
      switch try manager.outcome(of: transfer.id) {
      case .committed: try require(isThere, "transfer \(number) is told to have committed, and is not there")
      case .aborted: try require(!isThere, "transfer \(number) is told to be aborted, and is there")
      case let other: throw Mismatch("the outcome of transfer \(number) is \(other)")
      }
    }
    let expected = Int64(zip(ledger.transfers, found).count { $0.hasEffect && $1 })
    while try statistics.total(text: "done") != expected, count < 4_000, pump() { count += 1 }
    let total = try statistics.total(text: "done")
    try require(total == expected, "\(total) effects were done of \(expected)")
  }

  /// Takes what was found for what is known from now on.
  private func settleLedger() {
    for number in ledger.transfers.indices {
      guard case .committed? = try? manager.outcome(of: ledger.transfers[number].id) else {
        ledger.transfers[number].isAborted = true
        // It was acknowledged as applied only, and the power was lost.
        ledger.transfers[number].isAcknowledged = false
        continue
      }
      ledger.transfers[number].isAcknowledged = true
    }
  }
}
