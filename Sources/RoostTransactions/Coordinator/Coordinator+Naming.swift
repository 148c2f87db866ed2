import RoostCluster

// Which members a coordinator's unfinished transactions name: these must not be forgotten, nor give away what
// they are named for.
extension Coordinator {
  /// How many unfinished transactions have an effect to be done by a member.
  ///
  /// - Parameter isMeant: which of them count.
  func unfinishedEffects(at member: MemberID, where isMeant: (EventualEffect) -> Bool) -> Int {
    active.values.count { found in
      let asked = found.call?.effects ?? []
      return (asked + found.effects.values).contains { $0.target == member && isMeant($0) }
    }
  }

  /// How many unfinished transactions name a member for anything.
  func unfinished(naming member: MemberID) -> Int {
    active.values.count { found in
      if found.participants.keys.contains(member) || found.unacknowledged.contains(member) { return true }
      if found.readers.contains(member) || found.effectTargets.contains(member) { return true }
      if let call = found.call {
        if !(call.writes[member] ?? []).isEmpty { return true }
        if call.effects.contains(where: { $0.target == member }) { return true }
      }
      switch found.phase {
      case .atOnce(member, _), .unknownAtOnce(member): return true
      default: return false
      }
    }
  }
}
