import RoostCluster

// What callers are told of what a coordinator or a participant refuses.

extension DatabaseError {
  /// What a refusal to begin a transaction is to its caller.
  init(_ refusal: BeginRefusal) {
    switch refusal {
    case .clock:
      self.init(
        .clockOutOfBound, "this process's clock was seen near the bound: it begins no transaction meanwhile")
    case .tooManyActive(let count): self.init(.busy, "\(count) transactions are under way already")
    case .logFailed(let text):
      self.init(.storage, "the coordinator's log failed, open the database again: \(text)")
    case .timeUsedTwice: self.init(.busy, "the clock gave a time twice")
    }
  }

  /// What a refusal is to whoever waits for a read.
  init(_ refusal: Refusal, at path: String) {
    switch refusal {
    case .deadline:
      self.init(
        .deadlineExceeded, "waited too long for a transaction at \(path) that may have committed before")
    case .clock:
      self.init(.clockOutOfBound, "the clock of \(path) differs by more than the bound")
    case .moving, .notOwner:
      self.init(.busy, "the partition is being handed over by \(path)")
    case .failed(let text):
      self.init(.storage, text)
    default:
      self.init(.busy, "\(path) refused: \(refusal)")
    }
  }
}
