import RoostCausality
import RoostTransactions
import Testing

@Suite("Transaction ids")
struct TransactionIDTests {
  @Test("are read back from their text")
  func text() {
    let id = TransactionID(
      start: Timestamp(milliseconds: 1_234_567, logical: 3), coordinator: CoordinatorID(rawValue: 0xAB))
    #expect(TransactionID(id.description) == id)
    for text in ["", "-", "12-34", id.description + "0", id.description.replacing("-", with: "+")] {
      #expect(TransactionID(text) == nil, "\(text)")
    }
  }

  @Test("are ordered by age, then by coordinator")
  func order() {
    let a = TransactionID(start: Timestamp(rawValue: 1), coordinator: CoordinatorID(rawValue: 9))
    let b = TransactionID(start: Timestamp(rawValue: 2), coordinator: CoordinatorID(rawValue: 1))
    let c = TransactionID(start: Timestamp(rawValue: 2), coordinator: CoordinatorID(rawValue: 2))
    #expect(a < b && b < c && !(c < b))
  }
}
