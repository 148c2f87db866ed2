package import RoostCausality
package import RoostCluster

// Stores that come and go, and partitions that move between them: see `TransactionHandover`.

extension TransactionManager: TransactionHandover {
  package func joined(_ member: Member) throws(DatabaseError) {
    if lock.withLock({ state.isClosed || state.participants[member.id] != nil }) { return }
    let driver = try makeParticipant(member)
    lock.withLock { state.participants[member.id] = driver }
  }

  package func withdrew(_ member: Member) {
    lock.withLock { state.participants.removeValue(forKey: member.id) }?.stop()
    stores[member.id] = nil
  }

  package var longestMilliseconds: UInt64 { services.times.durationMilliseconds }

  // MARK: - Partitions

  private func participant(_ member: Member) -> ParticipantDriver? {
    lock.withLock { state.isClosed ? nil : state.participants[member.id] }
  }

  package func freeze(_ partition: Int, at member: Member) -> Bool {
    participant(member)?.freeze(partition) ?? false
  }

  package func giveUp(_ partition: Int, at member: Member) -> Timestamp? {
    participant(member)?.giveUp(partition)
  }

  package func thaw(_ partition: Int, at member: Member) { participant(member)?.thaw(partition) }

  // MARK: - Stores that leave

  package func stopCoordinating(at member: Member) throws(DatabaseError) -> Bool {
    lock.withLock { _ = state.leaving.insert(member.id) }
    try moveHome(from: member)
    let drivers = lock.withLock { () -> [CoordinatorDriver] in
      let logs = state.logs.filter { $0.member == member.id }.map { ObjectIdentifier($0.log) }
      return state.coordinators.values.filter { driver in
        driver.logIdentity.map(logs.contains) ?? false
      }
    }
    for driver in drivers { driver.retire() }
    return drivers.allSatisfy(\.isIdle)
  }

  /// Lets another store's coordinator begin what comes, where it was this one's: of the stores that stay,
  /// the one with the lowest id, as after the next opening.
  private func moveHome(from member: Member) throws(DatabaseError) {
    let isHome = lock.withLock {
      state.logs.contains { $0.member == member.id && ObjectIdentifier($0.log) == state.home?.logIdentity }
    }
    guard isHome else { return }
    while true {
      // Some may be about to leave that the ring does not say it of yet.
      let leaving = lock.withLock { state.leaving }
      let staying = Set(core.ring.staying.map(\.id)).subtracting(leaving)
      let next = core.presentMembers.filter { staying.contains($0.id) && $0.id != member.id }
        .min { $0.id < $1.id }
      guard let next else { throw DatabaseError(.missingStore, "no store stays to coordinate transactions") }
      let driver = try coordinator(in: next)
      // Whoever has that store leave from now on finds it the home, and moves that on.
      let isHome = lock.withLock {
        if state.leaving.contains(next.id) { return false }
        state.home = driver
        return true
      }
      if isHome { return }
      driver.retire()
    }
  }

  /// The coordinator whose log is in a store's directory, ready to begin transactions.
  private func coordinator(in member: Member) throws(DatabaseError) -> CoordinatorDriver {
    let known = lock.withLock {
      state.logs.first { $0.member == member.id }.flatMap { state.coordinators[$0.log.id] }
    }
    if let known {
      known.unretire()
      return known
    }
    let driver = try openCoordinators(in: member).driver
    driver.resume()
    return driver
  }

  package func quiet(_ member: Member) -> Bool {
    let isQuiet = participant(member)?.quiet() ?? true
    return stores.quiet(member.id) && isQuiet
  }

  package func resume(_ member: Member) {
    lock.withLock {
      state.leaving.remove(member.id)
      state.copied[member.id] = nil
    }
    stores.resume(member.id)
    participant(member)?.resume()
  }

  package func copyRecords(of member: Member, to heir: Member) throws(DatabaseError) {
    guard let from = stores[member.id], let to = stores[heir.id] else {
      throw DatabaseError(.missingStore, "the transactions of \(member.path) or \(heir.path) are not open")
    }
    if lock.withLock({ state.copied[member.id] }) == heir.id { return }
    try from.copyRecords(to: to)
    lock.withLock { state.copied[member.id] = heir.id }
  }

  package func bequeath(from member: Member, to heir: Member) throws(DatabaseError) {
    // Most often they have been.
    try copyRecords(of: member, to: heir)
    guard let to = stores[heir.id] else {
      throw DatabaseError(.missingStore, "the transactions of \(heir.path) are not open")
    }
    let logs = lock.withLock { state.logs.filter { $0.member == member.id } }
    for (_, log) in logs { try to.noteEnded(log.id, at: try services.instant().timestamp) }
  }

  package func left(_ member: Member, heir: Member) {
    let departed = makeDeparted(member.id, heir: heir)
    let (driver, logs) = lock.withLock { () -> (ParticipantDriver?, [CoordinatorLog]) in
      state.departed[member.id] = departed
      state.leaving.remove(member.id)
      state.copied[member.id] = nil
      let logs = state.logs.filter { $0.member == member.id }.map(\.log)
      state.logs.removeAll { $0.member == member.id }
      return (state.participants.removeValue(forKey: member.id), logs)
    }
    driver?.stop(isReplaced: true)
    stores[member.id] = nil
    stores.resume(member.id)
    for log in logs {
      do throws(DatabaseError) { try log.close() } catch {
        // All that is in it is done.
        services.warn("the coordinator log in \(member.path), which has left, could not be closed: \(error)")
      }
    }
  }
}
