import RoostCluster

// What goes over a connection, in each direction (FORMAT.md section 21):
//
//   stream := "ROOSTNET" | frame*
//   frame  := checksum u64 | length u32 | kind u8 | flags u8 (0) | message u16 | request u64
//           | deadline u32 | zero u32 | body
//
// The checksum is XXH64 of all behind it up to the end of the body. Its seed is the frame's number in its
// direction, from 0, so that a frame which is lost or comes twice does not validate.

/// What a frame is for.
enum FrameKind: UInt8, Sendable, CaseIterable {
  /// The first frame of each side: who it is.
  case hello = 1
  case request = 2
  /// The answer to a request.
  case response = 3
  /// Why a request is not answered: a ``Notice``.
  case failure = 4
  /// A message without an answer.
  case oneWay = 5
  /// Nobody waits for the request's answer any more.
  case cancel = 6
  /// A sign of life, with the sender's physical clock in milliseconds, u64.
  case ping = 7
  /// The answer to a ping, with its number and the own physical clock.
  case pong = 8
  /// Ask nothing more: this side is about to leave, and answers what it has.
  case draining = 9
  /// The last frame of a connection: why it ends, as a ``Notice``.
  case goodbye = 10
}

/// One frame, without what its encoding adds.
struct Frame: Hashable, Sendable {
  var kind: FrameKind
  /// The protocol's kind of message, of requests and messages without an answer.
  var message: UInt16 = 0
  /// Which request, or which ping; 0 where there is none.
  var request: UInt64 = 0
  /// What is left of the deadline of a request or a message without an answer, rounded up, at least 1.
  var deadlineMilliseconds: UInt32 = 0
  var body: [UInt8] = []

  /// What comes before the first frame of each side.
  static let preamble = Array("ROOSTNET".utf8)
  static let headerCount = 32
  /// The longest body of a frame that is neither a request, an answer nor a message without one.
  static let largestControlBody = 4_096

  var encodedCount: Int { Frame.headerCount + body.count }
}

extension FrameKind {
  /// Whether its body is the protocols' own.
  var isMessage: Bool { self == .request || self == .response || self == .oneWay }
}
