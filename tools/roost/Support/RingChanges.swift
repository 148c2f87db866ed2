import ArgumentParser
import Roost
import RoostCluster

/// Changes of a ring's members, as options: what `roost ring` shows without doing it.
struct RingChanges: ParsableArguments {
  @Option(
    help: ArgumentHelp("A store that would join.", valueName: "name[:weight[:zone]]"))
  var add: [String] = []
  @Option(help: ArgumentHelp("A store that would leave.", valueName: "name"))
  var remove: [String] = []
  @Option(help: ArgumentHelp("A store's new weight.", valueName: "name:weight"))
  var weigh: [String] = []

  var isEmpty: Bool { add.isEmpty && remove.isEmpty && weigh.isEmpty }

  /// The members after the changes.
  ///
  /// - Parameter members: those that stay in the ring as it is.
  /// - Throws: ``Failure`` of wrong usage: a name that is not there, or is there twice (then its id
  ///   does, in 16 hexadecimal digits), or is taken; a weight that is not 1 to 1000.
  func applied(to members: [RingMember]) throws -> [RingMember] {
    var members = members
    for name in remove { members.remove(at: try Self.index(name, in: members, "--remove")) }
    for text in weigh {
      // A name may hold colons, a weight none.
      guard let colon = text.lastIndex(of: ":"), colon > text.startIndex else {
        throw Failure.usage("--weigh `\(text)`: write NAME:WEIGHT")
      }
      let index = try Self.index(String(text[..<colon]), in: members, "--weigh")
      members[index].weight = try Self.weight(text[text.index(after: colon)...], "--weigh `\(text)`")
    }
    for text in add {
      let parts = text.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      let name = String(parts[0])
      guard !name.isEmpty else {
        throw Failure.usage("--add `\(text)`: write NAME, NAME:WEIGHT or NAME:WEIGHT:ZONE")
      }
      if members.contains(where: { $0.name == name }) {
        throw Failure.usage("--add `\(text)`: the ring has a store `\(name)`")
      }
      let weight = parts.count > 1 ? try Self.weight(parts[1], "--add `\(text)`")
        : DatabaseOptions.Member().weight
      members.append(
        RingMember(
          id: Self.freeID(members), name: name, weight: weight,
          zone: parts.count > 2 ? String(parts[2]) : ""))
    }
    return members
  }

  private static func index(
    _ name: String, in members: [RingMember], _ option: String
  ) throws -> Int {
    let places = members.indices.filter {
      members[$0].name == name || members[$0].id.description == name
    }
    switch places.count {
    case 1: return places[0]
    case 0:
      let names = members.map { "`\($0.name)`" }.joined(separator: ", ")
      throw Failure.usage("\(option): the ring has no store `\(name)`; it has \(names)")
    default:
      let ids = places.map { members[$0].id.description }.joined(separator: ", ")
      throw Failure.usage("\(option): `\(name)` is the name of several stores: name one of \(ids)")
    }
  }

  private static func weight(_ text: Substring, _ what: String) throws -> Int {
    guard let weight = Int(text), RingMember.weights ~= weight else {
      throw Failure.usage("\(what): the weight must be 1 to \(RingMember.weights.upperBound)")
    }
    return weight
  }

  /// Stands for the random id that a store gets when it joins: which one matters little.
  private static func freeID(_ members: [RingMember]) -> MemberID {
    var id: UInt64 = 0x9E37_79B9_7F4A_7C15
    while members.contains(where: { $0.id.rawValue == id }) { id &+= 0x9E37_79B9_7F4A_7C15 }
    return MemberID(rawValue: id)
  }
}
