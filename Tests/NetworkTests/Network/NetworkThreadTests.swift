import Foundation
import RoostCluster
import RoostEnvironment
import RoostSimulation
import TestSupport
import Testing

@testable import RoostNetwork

/// Many threads on one connection.
// Budget: 10 s
@Suite(.endsNodes) struct NetworkThreadTests {
  /// Counts, from many threads.
  private final class Counts: @unchecked Sendable {
    private let lock = Lock()
    private var all: [String: Int] = [:]
    func add(_ name: String) { lock.withLock { all[name, default: 0] += 1 } }
    var values: [String: Int] { lock.withLock { all } }
  }

  @Test func `requests, cancels and one-way messages of many threads each end once`() throws {
    let time = still()
    let held = Seen<ReceivedMessage>()
    let told = Counts()
    // Some are answered by another thread, some are let go of.
    let handler = TestHandler { message in
      if !message.isRequest {
        told.add("told")
        return false
      }
      switch message.message.body.first ?? 0 {
      case 0: held.add(message)
      case 1: break
      default: message.answer(message.message.body.reversed())
      }
      return false
    }
    let (a, b) = (try TestNode(1, on: time), try TestNode(2, on: time, handler) { $0.window = 64 })
    try a.meet([b])
    let threads = 4
    let each = TestSize.of(quick: 200, full: 2_000)
    let ended = Seen<Bool>()
    let counts = Counts()
    let done = Seen<Bool>()
    for thread in 0..<threads {
      let worker = Thread {
        for number in 0..<each {
          let body: [UInt8] = [UInt8(number % 5)] + [UInt8](repeating: UInt8(thread), count: number % 300)
          let request = a.network.request(
            NodeMessage(kind: 1, body: body), of: b.network.node, deadline: a.deadline()
          ) { result in
            switch result {
            case .success(let answer): counts.add(answer == body.reversed() ? "right" : "wrong")
            case .failure(let error): counts.add(error.code.description)
            }
            ended.add(true)
          }
          if number % 7 == 0 { request.cancel() }
          if number % 3 == 0 {
            do throws(TransportError) {
              try a.tell(2, body)
              counts.add("sent")
            } catch { counts.add("shed") }
          }
        }
        done.add(true)
      }
      worker.start()
    }
    let answering = Thread {
      var next = 0
      while true {
        guard let messages = try? held.wait(count: next + 1) else { return }
        for message in messages[next...] {
          if message.message.kind == 99 { return }
          message.answer(message.message.body.reversed())
        }
        next = messages.count
      }
    }
    answering.start()
    try done.wait(count: threads)
    try ended.wait(count: threads * each)
    // Ends the thread that answers.
    held.add(
      ReceivedMessage(
        from: TestNode.id(1), NodeMessage(kind: 99, body: []), deadline: 0, isRequest: false, { _ in }))
    let values = counts.values
    #expect(values["wrong"] == nil)
    #expect(values["right", default: 0] > 0)
    let known: Set = ["right", "failed", "cancelled", "overloaded", "sent", "shed"]
    #expect(Set(values.keys).subtracting(known) == [])
    // All that was said to be sent arrives.
    a.ask(2, [4], into: TestNode.Answers())
    #expect(try a.ask(2, [4, 5]) == [5, 4])
    #expect(told.values["told"] == values["sent"])
    #expect(ended.values.count == threads * each)
    #expect(a.network.statistics.peers[0].inFlight == 0)
    try a.close()
    try b.close()
  }
}
