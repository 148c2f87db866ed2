/// What a member holds, as a bar: what stays, what comes, what goes.
struct ShareBar {
  var stays: Int
  var comes: Int
  var goes: Int

  static let legend = "█ stays   ▓ comes   ░ goes"

  /// - Parameters:
  ///   - longest: what `width` columns stand for, at least the sum of the three.
  func text(longest: Int, width: Int) -> String {
    guard longest > 0 else { return "" }
    let parts = [(stays, "█"), (comes, "▓"), (goes, "░")].filter { $0.0 > 0 }
    var text = ""
    var sum = 0
    var drawn = 0
    for (index, (part, block)) in parts.enumerated() {
      sum += part
      // A part ends where all up to it ends, so that bars of one sum are of one length; but what is
      // there is never drawn as nothing, and leaves room for what follows.
      let end = Int((Double(sum) / Double(longest) * Double(width)).rounded())
      let shown = max(drawn + 1, min(end, width - (parts.count - index - 1)))
      text += String(repeating: block, count: shown - drawn)
      drawn = shown
    }
    return text
  }
}
