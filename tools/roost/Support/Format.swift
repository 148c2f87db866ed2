/// Numbers as people read them.
enum Format {
  /// `34,924`
  static func count(_ number: some BinaryInteger) -> String {
    var digits = Array(String(number))
    let first = digits.first == "-" ? 1 : 0
    var at = digits.count - 3
    while at > first {
      digits.insert(",", at: at)
      at -= 3
    }
    return String(digits)
  }

  /// `1 table`, `2 tables`
  static func count(_ number: some BinaryInteger, _ noun: String, _ plural: String? = nil) -> String
  {
    count(number) + " " + (number == 1 ? noun : plural ?? noun + "s")
  }

  /// `12.3 MiB`
  static func bytes(_ number: some BinaryInteger) -> String {
    var value = Double(number)
    var unit = 0
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return unit == 0 ? "\(number) B" : "\(fixed(value, value < 99.95 ? 1 : 0)) \(units[unit])"
  }

  /// `1.25 s`, `340 ms`
  static func duration(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    return self.duration(
      nanoseconds: UInt64(max(0, seconds)) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000))
  }

  static func duration(nanoseconds: UInt64) -> String {
    let value = Double(nanoseconds)
    if value >= 1e9 { return "\(fixed(value / 1e9, 2)) s" }
    if value >= 1e6 { return "\(fixed(value / 1e6, value < 1e7 ? 1 : 0)) ms" }
    return "\(fixed(value / 1e3, 0)) µs"
  }

  /// `12.5 %` of a part between 0 and 1.
  static func percent(_ part: Double) -> String { "\(fixed(part * 100, 1)) %" }

  static func fixed(_ value: Double, _ places: Int) -> String {
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    let whole = Int64((value * scale).rounded())
    if places == 0 { return "\(whole)" }
    let text = String(whole)
    let padded = String(repeating: "0", count: max(0, places + 1 - text.count)) + text
    return "\(padded.dropLast(places)).\(padded.suffix(places))"
  }

  /// `text` filled up with spaces; columns count characters.
  static func left(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  static func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}
