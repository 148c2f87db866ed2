import RoostCausality
import RoostStorage

// How databases that know nothing of each other exchange states: one exports what changed in a
// keyspace, page by page, along its feed; the other joins it, as a replica would.

extension KeyspaceCore {
  /// The states of keys that changed after `token` and before the export's first page: the token of an
  /// unfinished page goes on with the same export.
  ///
  /// - Parameter byteLimit: keys and records a page; one state may exceed it.
  /// - Throws: as ``changes(since:limit:)``.
  package func export(since token: ChangeToken?, byteLimit: Int) throws(DatabaseError) -> ExportPage {
    let limit = ChangePageLimit(changes: 1024, bytes: max(1, byteLimit), work: 8192)
    let page = try changesToEnd(since: token, limit: limit)
    var states: [ExportPage.State] = []
    for change in page.changes {
      // To who joins them, states that are told again are as others.
      guard case .changed(let key, let record) = change.event else { continue }
      states.append(ExportPage.State(key: key, record: record))
    }
    return ExportPage(
      keyspace: name, kind: kind, isComplete: page.isAtEnd, token: page.token, states: states)
  }
}

extension DatabaseCore {
  /// Joins the states of an export into the keyspace of the same name.
  ///
  /// All are checked before the first is joined.
  ///
  /// - Throws: `.unknownKeyspace`; `.wrongPolicy` where the keyspace here has another policy;
  ///   `.clockOutOfBound` where a state comes from further in the future than clocks may differ
  ///   (nothing was joined; it will do once the clock here is there); as ``KeyspaceCore/join(_:_:)``,
  ///   some states joined and others not: joining again is no harm.
  package func join(_ page: ExportPage) throws(DatabaseError) -> JoinSummary {
    let keyspace = try keyspace(page.keyspace, nil)
    guard keyspace.kind == page.kind else {
      throw DatabaseError(
        .wrongPolicy,
        "the export is of a keyspace `\(page.keyspace)` with the policy \(page.kind); here it has "
          + "\(keyspace.kind)")
    }
    for state in page.states {
      try shared.clock.check(
        state.record.highestTimestamp,
        maximumOffsetMilliseconds: shared.maximumClockOffsetMilliseconds)
    }
    var summary = JoinSummary(states: page.count, changed: 0)
    for state in page.states {
      let isChanged = try state.key.withKeyBytes { key throws(DatabaseError) in
        try keyspace.join(key, state.record)
      }
      if isChanged { summary.changed += 1 }
    }
    return summary
  }
}
