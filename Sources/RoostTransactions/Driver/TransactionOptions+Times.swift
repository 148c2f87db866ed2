import RoostCluster

// What the protocol takes of the options that users set.

extension TransactionOptions {
  /// The options as the state machines have them.
  var times: ProtocolTimes {
    var times = ProtocolTimes()
    times.lockWaitMilliseconds = lockWait.wholeMilliseconds
    times.durationMilliseconds = longestDuration.wholeMilliseconds
    times.clockBoundMilliseconds = clockBound.wholeMilliseconds
    times.outcomeRetentionMilliseconds = outcomeRetention.wholeMilliseconds
    return times
  }
}

extension Duration {
  /// Rounded up; for what was checked not to be negative.
  var wholeMilliseconds: UInt64 {
    let (seconds, attoseconds) = components
    return UInt64(seconds) * 1_000 + UInt64((attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
  }
}
