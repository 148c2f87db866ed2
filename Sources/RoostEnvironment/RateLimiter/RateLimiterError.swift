/// Why units were not granted.
public struct RateLimiterError: Error, Sendable, Equatable, CustomStringConvertible {
  public enum Code: Sendable, Equatable {
    /// A rate, a burst, a number of units or a limit that makes no sense.
    case invalidArgument
    /// More units at once than the burst will ever allow.
    case exceedsBurst
    /// The units did not come in time. The message says what was waited for and who was ahead.
    case deadlineExceeded
    /// As many callers wait as may.
    case tooManyWaiters
    /// The limiter was closed, before or while the caller waited.
    case closed
  }

  public var code: Code
  public var message: String

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  public var description: String { "\(code): \(message)" }
}
