import RoostCausality

/// A secondary index of a keyspace: terms that are taken from the values, under which their keys are
/// found.
///
/// ```swift
/// let byAuthor = Index("author", version: 1) { key, value in [author(of: value)] }
/// let posts = try await database.keyspace("posts", .eventual, indexes: [byAuthor])
/// let page = try await posts.query("author", equals: "ada")
/// ```
///
/// A key is found under the terms of all of its values: of all siblings, and of the winner alone
/// where the last writer wins. Counters, sets and the other typed states have no terms.
public struct Index: Sendable {
  /// 1 to 64 letters, digits, dots, dashes and underscores.
  public let name: String
  /// Of the function: another one means that it gives other terms than before, and has the index
  /// built again in the background. Two functions with one version must agree.
  public let version: UInt64
  /// Gives the terms of a value, in any order.
  public let terms: @Sendable (_ key: [UInt8], _ value: [UInt8]) -> [[UInt8]]

  /// - Parameters:
  ///   - name: 1 to 64 letters, digits, dots, dashes and underscores.
  ///   - version: of the function; any number below 2^62.
  ///   - terms: gives the terms of a value: none, one or several, of any bytes. A pure function of its
  ///     arguments. It runs while its key is locked, twice a write: it must be quick and must not call
  ///     the database. Key and term together may have 65,529 bytes, a term's zero bytes counted
  ///     twice.
  public init(
    _ name: String, version: UInt64 = 1,
    terms: @escaping @Sendable (_ key: [UInt8], _ value: [UInt8]) -> [[UInt8]]
  ) {
    self.name = name
    self.version = version
    self.terms = terms
  }

  /// The terms of a record: ascending, each once.
  ///
  /// - Parameter siblings: what counts of its values.
  func terms(of siblings: [Sibling], key: [UInt8]) -> [[UInt8]] {
    if siblings.isEmpty { return [] }
    var all: [[UInt8]] = []
    for sibling in siblings { all += terms(key, sibling.value) }
    if all.count < 2 { return all }
    all.sort { $0.lexicographicallyPrecedes($1) }
    var distinct: [[UInt8]] = []
    for term in all where term != distinct.last { distinct.append(term) }
    return distinct
  }
}

/// How far an index is. A plain value.
public struct IndexProgress: Sendable, Equatable, CustomStringConvertible {
  /// Whether it can be queried.
  public var isReady: Bool
  /// How much of the stores was walked, from 0 to 1.
  public var fraction: Double
  /// What the building last failed of. It is tried again at the next question or query.
  public var failure: String?

  public var description: String {
    if isReady { return "ready" }
    return "\(Int(fraction * 100))% built" + (failure.map { "; it failed: \($0)" } ?? "")
  }
}
