/// What a bank's reads must agree on, whatever was moved between accounts.
struct BankChecker {
  /// The sum of all accounts, at any time.
  var total: Int
  var accountCount: Int

  /// What is wrong with one read of all accounts; `nil` for nothing.
  func fault(_ balances: [Int]) -> String? {
    if balances.count != accountCount {
      return "\(balances.count) of \(accountCount) accounts: \(balances)"
    }
    if let overdrawn = balances.first(where: { $0 < 0 }) { return "a balance of \(overdrawn): \(balances)" }
    let sum = balances.reduce(0, +)
    return sum == total ? nil : "a total of \(sum), not \(total): \(balances)"
  }
}
