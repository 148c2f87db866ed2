import RoostTransactions
import Testing

// Budget: 1 s
@Suite("Lock table")
struct LockTableTests {
  var table = LockTable()

  /// Asks, and returns whether it was granted at once; fails where that wounds anyone.
  @discardableResult
  mutating func take(
    _ transaction: TransactionID, _ targets: LockTarget..., request: UInt64 = 1
  ) -> Bool {
    let changes = table.acquire(targets, for: transaction, age: transaction, request: request)
    #expect(changes.wounded.isEmpty)
    return changes.granted.contains(LockTable.Ticket(transaction, request))
  }

  @Test("shared locks go together, an exclusive one stands alone")
  mutating func modes() {
    #expect(take(txn(1), .shared(key("a"))))
    #expect(take(txn(2), .shared(key("a"))))
    #expect(!take(txn(3), .exclusive(key("a"))))
    #expect(take(txn(4), .exclusive(key("b"))))
    #expect(take(txn(4), .shared(key("b")), request: 2), "what it holds includes it")
  }

  @Test("a range lock keeps writers out of its gaps, and only of its partition")
  mutating func ranges() {
    #expect(take(txn(1), .sharedRange(range("b", "d"))))
    #expect(!take(txn(2), .exclusive(key("c"))))
    #expect(take(txn(3), .exclusive(key("d"))), "the upper end is no part of it")
    #expect(take(txn(3), .exclusive(key("c", partition: 1)), request: 2))
    #expect(take(txn(4), .shared(key("c"))) == false, "an older one waits to write it")
    #expect(!take(txn(5), .sharedRange(range("a", nil))))
    #expect(table.release(txn(1)).granted == [LockTable.Ticket(txn(2), 1)])
  }

  @Test("an older one wounds a younger holder, which loses everything")
  mutating func wounds() {
    take(txn(2), .exclusive(key("a")), .shared(key("b")))
    take(txn(3), .exclusive(key("b")))
    let changes = table.acquire([.shared(key("a"))], for: txn(1), age: txn(1), request: 1)
    #expect(changes.wounded == [txn(2)])
    #expect(changes.granted == [LockTable.Ticket(txn(1), 1), LockTable.Ticket(txn(3), 1)])
    #expect(!table.holds(.shared(key("b")), txn(2)))
  }

  @Test("a younger one waits, in the order of age and not of arrival")
  mutating func ageOrder() {
    take(txn(1), .exclusive(key("a")))
    #expect(!take(txn(4), .exclusive(key("a"))))
    #expect(!take(txn(2), .exclusive(key("a"))))
    #expect(!take(txn(3), .shared(key("a"))))
    #expect(table.release(txn(1)).granted == [LockTable.Ticket(txn(2), 1)])
    #expect(table.release(txn(2)).granted == [LockTable.Ticket(txn(3), 1)])
    #expect(table.release(txn(3)).granted == [LockTable.Ticket(txn(4), 1)])
  }

  @Test("age is the first attempt's")
  mutating func retriesKeepTheirAge() {
    take(txn(5), .exclusive(key("a")))
    let changes = table.acquire([.exclusive(key("a"))], for: txn(9), age: txn(1), request: 1)
    #expect(changes.wounded == [txn(5)])
  }

  @Test("a prepared one is not wounded: the older waits")
  mutating func protection() {
    take(txn(2), .exclusive(key("a")))
    table.protect(txn(2))
    #expect(!take(txn(1), .exclusive(key("a"))))
    #expect(!take(txn(3), .shared(key("a"))))
    #expect(table.release(txn(2)).granted == [LockTable.Ticket(txn(1), 1)])
  }

  @Test("two that both upgrade: the older wounds the younger")
  mutating func bothUpgrade() {
    take(txn(1), .shared(key("a")))
    take(txn(2), .shared(key("a")))
    #expect(!take(txn(2), .exclusive(key("a")), request: 2))
    let changes = table.acquire([.exclusive(key("a"))], for: txn(1), age: txn(1), request: 2)
    #expect(changes.wounded == [txn(2)])
    #expect(changes.granted == [LockTable.Ticket(txn(1), 2)])
    #expect(table.holds(.exclusive(key("a")), txn(1)))
    #expect(table.release(txn(1)) == LockTable.Changes())
    #expect(table.ownerCount == 0 && table.isFree(partition: 0))
  }

  @Test("what is granted of a request stays held while the rest is waited for")
  mutating func partial() {
    take(txn(1), .exclusive(key("b")))
    #expect(!take(txn(2), .exclusive(key("a")), .exclusive(key("b"))))
    #expect(!take(txn(3), .shared(key("a"))))
    #expect(table.holds(.exclusive(key("a")), txn(2)))
    #expect(table.release(txn(1)).granted == [LockTable.Ticket(txn(2), 1)])
  }

  @Test("adopted locks keep others out, also where two have the same key")
  mutating func adoption() {
    table.adopt([key("a")], for: txn(5))
    table.adopt([key("a")], for: txn(6))
    #expect(!take(txn(1), .shared(key("a"))))
    #expect(table.release(txn(5)).granted == [])
    #expect(table.release(txn(6)).granted == [LockTable.Ticket(txn(1), 1)])
  }
}
