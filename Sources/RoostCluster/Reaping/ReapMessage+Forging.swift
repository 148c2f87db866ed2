extension ForgedMessage {
  /// What a replica would answer that has nothing of what others would reap, whatever it has.
  ///
  /// - Returns: `nil` where the message is not about reaping.
  package static func agreement(to message: NodeMessage) -> [UInt8]? {
    switch message.kind {
    case NodeMessageKind.reapQuestion:
      guard let asked = try? ReapMessage(decoding: message.body) else { return nil }
      return asked.keys.map { _ in ReapVerdict.nothing.rawValue }
    case NodeMessageKind.reapOrder:
      // So many records have gone.
      var writer = FieldWriter()
      writer.write(count: 0)
      return writer.bytes
    default: return nil
    }
  }
}
