// Messages about many keys at once, as they come from other nodes and from clients.

extension ClusterNode {
  /// Another node reads records of partitions that are here.
  func servePage(_ message: ReceivedMessage) {
    serve(message, isReading: true) { [self] body, answer throws(DatabaseError) in
      answer(.success(try page(body) { message.isCancelled || hasClosed }))
    }
  }

  /// Another node reads changes of partitions that are here.
  func serveFeed(_ message: ReceivedMessage) {
    serve(message, isReading: true) { [self] body, answer throws(DatabaseError) in
      answer(.success(try feed(body)))
    }
  }

  /// A client reads a page of a keyspace.
  func serveScan(_ message: ReceivedMessage) {
    do throws(DatabaseError) {
      scan(try ScanRequest(decoding: message.message.body), deadline: message.deadline) { result in
        message.answer(NodeAnswer.encode(result.map { $0.encoded() }))
      }
    } catch { message.answer(NodeAnswer.encode(.failure(error))) }
  }

  /// A client reads a page of a keyspace's changes.
  func serveChanges(_ message: ReceivedMessage) {
    do throws(DatabaseError) {
      changes(try ChangesRequest(decoding: message.message.body), deadline: message.deadline) { result in
        message.answer(NodeAnswer.encode(result.map { $0.encoded() }))
      }
    } catch { message.answer(NodeAnswer.encode(.failure(error))) }
  }
}
