import RoostCausality
import TestSupport
import Testing

/// Joins commute, associate, are idempotent and monotone, and the order is theirs: for each type by
/// itself, for vectors and for whole records.
// Budget: 20 s
@Suite struct LawTests {
  @Test func `version vectors`() throws { try lawsHold(VersionVector.self) }
  @Test func `sibling sets`() throws { try lawsHold(Causal<SiblingSet>.self) }
  @Test func `grow-only counters`() throws { try lawsHold(Causal<GCounter>.self) }
  @Test func `counters`() throws { try lawsHold(Causal<PNCounter>.self) }
  @Test func `registers`() throws { try lawsHold(Causal<LWWRegister>.self) }
  @Test func `flags`() throws { try lawsHold(Causal<EnableWinsFlag>.self) }
  @Test func `sets`() throws { try lawsHold(Causal<ORSet>.self) }
  @Test func `maps`() throws { try lawsHold(Causal<ORMap>.self) }
  @Test func `records`() throws { try lawsHold(Record.self) }
}
