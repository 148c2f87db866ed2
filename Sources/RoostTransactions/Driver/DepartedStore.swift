import RoostCausality
import RoostCluster

/// Answers for a store that has left the database, from its records, which another store has by now.
///
/// Nothing was prepared or locked there when it left. So what is told to commit has been committed, what is
/// asked about is on record or unknown, and nothing new is granted. An effect is done wherever its key is.
///
/// Thread-safe.
final class DepartedStore: Sendable {
  let member: MemberID
  private let stores: OpenStores
  private let outbox: EffectWriter
  private let services: DriverServices
  private let writes: WriteQueue

  /// - Parameter heir: its workers do what may wait.
  init(
    _ member: MemberID, heir: Member, _ stores: OpenStores, _ outbox: EffectWriter,
    _ services: DriverServices
  ) {
    self.member = member
    self.stores = stores
    self.outbox = outbox
    self.services = services
    writes = WriteQueue(heir)
    // In place of its participant, if there was one: no message finds nobody.
    services.transport.attach(.participant(member)) { [weak self] in self?.receive($0) }
  }

  func stop() { services.transport.detach(.participant(member)) }

  private func receive(_ envelope: Envelope) {
    switch envelope.message.body {
    case .acquire(let request):
      reply(to: envelope, .refused(request: request.request, .notOwner))
    case .prepare: reply(to: envelope, .vote(.no(.notOwner)))
    case .commit: reply(to: envelope, .acknowledged)
    case .commitAtOnce(let request):
      writes.run { [self] _ in answer(envelope, commitAtOnce: request.request) }
    case .inquire: writes.run { [self] _ in answerInquiry(envelope) }
    case .effect(let effect, let index, let outcome):
      writes.run(blocks: true) { [self] _ in apply(effect, index, outcome, envelope) }
    case .forgetEffects:
      writes.run { [self] _ in
        outbox.forget(envelope.message.transaction, told: envelope.timestamp)
        do throws(DatabaseError) {
          for store in stores.all { try store.forgetEffects(of: envelope.message.transaction) }
        } catch {
          services.warn("the marks of transaction \(envelope.message.transaction) stay: \(error)")
        }
      }
    case .abort, .answer: break
    // A coordinator's.
    case .acquired, .refused, .wounded, .vote, .acknowledged, .committedAtOnce, .effectDone, .effectFailed:
      break
    }
  }

  private func reply(to envelope: Envelope, _ body: Message.Body) {
    // Where the clock cannot be read the message counts as lost: it comes again.
    guard (try? services.observe(envelope)) != nil, let now = try? services.instant() else { return }
    _ = services.transport.send(
      services.envelope(
        from: .participant(member), to: envelope.from, Message(envelope.message.transaction, body), now))
  }

  private func answer(_ envelope: Envelope, commitAtOnce request: UInt64) {
    withRecord(of: envelope) { outcome in
      switch outcome {
      case .committed(let timestamp): .committedAtOnce(request: request, timestamp)
      case .aborted: .refused(request: request, .refusedBefore)
      case nil: .refused(request: request, .notOwner)
      }
    }
  }

  private func answerInquiry(_ envelope: Envelope) {
    withRecord(of: envelope) { outcome in
      switch outcome {
      case .committed(let timestamp): .answer(.committed(timestamp))
      case .aborted: .answer(.aborted)
      case nil: .answer(.unknown)
      }
    }
  }

  private func withRecord(of envelope: Envelope, _ body: (Outcome?) -> Message.Body) {
    var outcome: Outcome?
    do throws(DatabaseError) {
      for store in stores.all where outcome == nil {
        outcome = try store.outcome(of: envelope.message.transaction)?.outcome
      }
    } catch {
      // Whoever asks asks again.
      return services.warn("the outcome of \(envelope.message.transaction) could not be read: \(error)")
    }
    reply(to: envelope, body(outcome))
  }

  private func apply(
    _ effect: EventualEffect, _ index: Int, _ outcome: Timestamp?, _ envelope: Envelope
  ) {
    let transaction = envelope.message.transaction
    do throws(DatabaseError) {
      let now = try services.instant()
      let isDone = try outbox.apply(
        effect, of: transaction, index: index, outcome: outcome, told: envelope.timestamp,
        at: now.timestamp)
      if !isDone { return }
    } catch {
      if EffectWriter.isPermanent(error) {
        return reply(to: envelope, .effectFailed(index: index, error.description))
      }
      return services.warn("effect \(index) of transaction \(transaction) waits: \(error)")
    }
    outbox.sync(effect) { [self] error in
      if error == nil { reply(to: envelope, .effectDone(index: index)) }
    }
  }
}
