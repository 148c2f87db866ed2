/// What the child of the rebalancing kill test writes, as functions of a write's number.
public enum RebalanceKillPlan {
  public static let keyCount = 300
  public static let counterCount = 20

  public static func key(_ number: Int) -> String { "k\(number &* 7 % keyCount)" }
  public static func counter(_ number: Int) -> String { "c\(number % counterCount)" }

  public static func value(_ number: Int) -> [UInt8] {
    Array("v\(number)".utf8) + [UInt8](repeating: UInt8(ascii: "."), count: number % 200)
  }

  public static func stores(_ directory: String) -> [String] {
    (0..<5).map { directory + "/s\($0)" }
  }
}
