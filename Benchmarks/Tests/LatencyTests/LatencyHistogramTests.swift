import Latency
import Testing

@Suite struct LatencyHistogramTests {
  /// What is told of a single duration is it, or up to 1/128 more, for every size of number.
  @Test func everyDurationIsToldWithinItsBucket() {
    var durations: Set<UInt64> = [0, 1, 255, 256, 257, .max]
    for bit in UInt64(0)..<64 {
      let power = UInt64(1) << bit
      durations.formUnion([power, power - 1, power + power / 3, power + power / 128])
    }
    for duration in durations {
      var histogram = LatencyHistogram()
      histogram.record(duration)
      // The longest is told exactly: a longer one beside it shows the bucket's end.
      #expect(histogram.quantile(1) == duration)
      histogram.record(.max)
      let told = histogram.quantile(0.5)
      #expect(told >= duration, "\(duration)")
      #expect(told - duration <= duration / 128, "\(duration) is told as \(told)")
    }
  }

  @Test func quantilesAreThoseOfTheSortedDurations() {
    var histogram = LatencyHistogram()
    let durations = (UInt64(1)...10_000).map { $0 * $0 * 37 }
    for duration in durations.reversed() { histogram.record(duration) }
    for (share, position) in [(0.0, 0), (0.5, 4_999), (0.99, 9_899), (0.999, 9_989), (1, 9_999)] {
      let (told, right) = (histogram.quantile(share), durations[position])
      #expect(told >= right && told - right <= right / 128, "\(share): \(told), not \(right)")
    }
    #expect(histogram.count == 10_000)
    #expect(histogram.maximum == durations.last)
  }

  @Test func addedUpTheyAreOne() {
    var (one, other, all) = (LatencyHistogram(), LatencyHistogram(), LatencyHistogram())
    for duration in UInt64(0)..<5_000 {
      if duration % 3 == 0 { one.record(duration * 11) } else { other.record(duration * 11) }
      all.record(duration * 11)
    }
    one.add(other)
    #expect(one.count == all.count)
    #expect(one.maximum == all.maximum)
    for share in [0.001, 0.25, 0.5, 0.9, 0.999] {
      #expect(one.quantile(share) == all.quantile(share))
    }
  }

  @Test func nothingRecordedIsZero() {
    #expect(LatencyHistogram().quantile(0.5) == 0)
    #expect(LatencyHistogram().maximum == 0)
  }
}
