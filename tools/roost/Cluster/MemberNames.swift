import RoostCluster

/// Members and candidates by what people call them: where a node listens, the name that it had first, or its
/// number, whole or the first digits of it.
enum MemberNames {
  /// How `text` may name one.
  static let help = "Its address, name or number; of the number four digits will do."

  /// - Throws: ``Failure`` where nobody is called so, or several are.
  static func member(_ text: String, of status: NodeStatus) throws -> MemberID {
    let found = status.members.filter { $0.address == text || $0.name == text }.map(\.id)
    let begun = status.members.map(\.id).filter { begins($0, text) }
    if let one = try pick(text, found.isEmpty ? begun : found) { return one }
    // One that holds nothing any more is in no list: the node knows.
    if let number = number(text) { return number }
    let names = status.members.map { label($0) }.joined(separator: ", ")
    throw Failure(.notFound, "the cluster has no member `\(text)`; it has \(names)")
  }

  /// - Throws: ``Failure`` where nobody who asks to join is called so, or several are.
  static func candidate(_ text: String, of candidates: [ClusterCandidate]) throws -> ClusterCandidate {
    let found = candidates.filter { $0.name == text }.map(\.id)
    let id = try pick(text, found.isEmpty ? candidates.map(\.id).filter { begins($0, text) } : found)
    if let candidate = candidates.first(where: { $0.id == id }) { return candidate }
    let names = candidates.map { "\($0.id) (\($0.name))" }.joined(separator: ", ")
    throw Failure(
      .notFound,
      "`\(text)` does not ask to join; " + (candidates.isEmpty ? "nobody does" : "these do: \(names)"))
  }

  /// What a member is called in texts.
  static func label(_ member: NodeStatus.Member) -> String {
    member.address.isEmpty ? member.name : member.address
  }

  private static func pick(_ text: String, _ found: [MemberID]) throws -> MemberID? {
    if found.count > 1 {
      let all = found.map { "\($0)" }.joined(separator: ", ")
      throw Failure.usage("`\(text)` may be any of \(all): name one by its whole number")
    }
    return found.first
  }

  private static func begins(_ member: MemberID, _ text: String) -> Bool {
    text.count >= 4 && "\(member)".hasPrefix(text.lowercased())
  }

  private static func number(_ text: String) -> MemberID? {
    guard text.count == 16, text.allSatisfy(\.isHexDigit) else { return nil }
    return UInt64(text, radix: 16).map { MemberID(rawValue: $0) }
  }
}
