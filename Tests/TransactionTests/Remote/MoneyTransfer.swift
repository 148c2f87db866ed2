import RoostCluster
import RoostEnvironment
import TestSupport

@testable import RoostTransactions

/// One move of money between two accounts of a ``RemoteWorld``. Used by one thread.
final class MoneyTransfer: @unchecked Sendable {
  private(set) var isOver = false
  private(set) var hasCommitted = false
  private let world: RemoteWorld
  private let transaction: TransactionCore

  init(_ world: RemoteWorld, _ from: String, _ to: String, _ amount: Int, at index: Int) throws {
    self.world = world
    transaction = try TransactionCore(try world.manager(index))
    try world.read(from, in: transaction) { [self] result in
      read(result) { [self] source in
        try world.read(to, in: transaction) { [self] result in
          read(result) { [self] target in
            guard source >= amount else {
              transaction.abort()
              isOver = true
              return
            }
            try transaction.write(world.reference(from), Array("\(source - amount)".utf8))
            try transaction.write(world.reference(to), Array("\(target + amount)".utf8))
            try transaction.commit(isSynced: true) { [self] outcome in
              if case .committed = outcome { hasCommitted = true }
              isOver = true
            }
          }
        }
      }
    }
  }

  /// Goes on with a balance; gives up where there is none.
  private func read(_ result: Result<String?, TransactionAborted>, _ then: (Int) throws -> Void) {
    guard case .success(let text?) = result, let balance = Int(text), (try? then(balance)) != nil else {
      transaction.abort()
      isOver = true
      return
    }
  }
}

extension SplitMix64 {
  /// Two different numbers from 0 up to `bound`, which is left out.
  mutating func two(below bound: Int) -> (first: Int, second: Int) {
    let first = below(bound)
    return (first, (first + 1 + below(bound - 1)) % bound)
  }
}

extension BankChecker {
  /// The same of what stands under the accounts' names.
  func fault(_ balances: [String?]) -> String? { fault(balances.compactMap { $0.flatMap { Int($0) } }) }
}
