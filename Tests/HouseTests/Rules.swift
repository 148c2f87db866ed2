/// A rule of the house that a file breaks.
struct Violation: Equatable, CustomStringConvertible {
  var path: String
  var line: Int
  var text: String

  var description: String { "\(path):\(line): \(text)" }
}

/// The rules about source files, as functions from a file to what breaks them: a test runs each on
/// the whole repository, and on samples that must fail.
enum Rules {
  /// What each folder of `Sources` may import, drawn as in ARCHITECTURE.md: down only.
  /// `Synchronization` is the standard library's and open to all.
  static let imports: [String: Set<String>] = [
    "Roost": [
      "RoostTransactions", "RoostCluster", "RoostCausality", "RoostNetwork", "RoostStorage",
      "RoostEnvironment",
    ],
    "RoostService": ["Roost", "ServiceLifecycle"],
    // Codable's encoders are Foundation's: one folder uses them.
    "Roost/Codec": [
      "RoostCluster", "RoostCausality", "RoostStorage", "FoundationEssentials", "Foundation",
    ],
    "RoostTransactions": ["RoostCluster", "RoostCausality", "RoostStorage", "RoostEnvironment"],
    "RoostCluster": ["RoostCausality", "RoostStorage", "RoostEnvironment", "CPrefetch"],
    "RoostNetwork": [
      "RoostCluster", "RoostCausality", "RoostStorage", "RoostEnvironment", "NIOCore", "NIOPosix", "NIOSSL",
      "NIOTLS", "Logging", "Metrics", "SystemPackage",
    ],
    "RoostSimulation": [
      "RoostTransactions", "RoostCluster", "RoostCausality", "RoostEnvironment", "SystemPackage",
    ],
    "RoostStorage": ["RoostEnvironment", "SystemPackage", "CLZ4", "CPrefetch"],
    "RoostCausality": [],
    "RoostEnvironment": ["SystemPackage"],
    "RoostEnvironment/POSIX": ["SystemPackage", "Glibc", "Musl", "Darwin"],
  ]

  /// What reaches the outside world, or another thread, past the seams.
  static let worldly = [
    "Date(", "Task.sleep", "Task.detached", "DispatchQueue", "FileManager", "FileDescriptor",
    "ContinuousClock", "SuspendingClock", "SystemRandomNumberGenerator", "clock_gettime",
    "gettimeofday", "pthread_", "mmap(", "O_RDONLY", "O_WRONLY", "O_RDWR", "O_CREAT", "fopen(",
    "getenv(", "Bool.random()", "random(in:", "randomElement()", "shuffled()",
  ]

  static func layer(_ path: String) -> String? {
    let parts = path.split(separator: "/")
    guard parts.count > 2, parts[0] == "Sources" else { return nil }
    if parts[1] == "RoostEnvironment" && parts[2] == "POSIX" { return "RoostEnvironment/POSIX" }
    if parts[1] == "Roost" && parts[2] == "Codec" { return "Roost/Codec" }
    return String(parts[1])
  }

  /// Imports that point sideways or up, or out of the house.
  static func strayImports(_ file: Repository.File) -> [Violation] {
    guard let layer = layer(file.path) else { return [] }
    let allowed = imports[layer] ?? []
    return numbered(codeOnly(file.text)).compactMap { number, line in
      guard let module = importedModule(line), module != "Synchronization", !allowed.contains(module)
      else { return nil }
      return Violation(path: file.path, line: number, text: "\(layer) must not import \(module)")
    }
  }

  /// The module that a line imports, with whatever stands before the word `import`.
  static func importedModule(_ line: Substring) -> String? {
    var words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
    while let word = words.first, word != "import" {
      guard word.hasPrefix("@") || ["public", "package", "internal", "fileprivate", "private"].contains(word)
      else { return nil }
      words.removeFirst()
    }
    guard words.count >= 2 else { return nil }
    let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
    let name = kinds.contains(words[1]) && words.count > 2 ? words[2] : words[1]
    return name.split(separator: ".").first.map(String.init)
  }

  /// Calls past the seams, outside the one folder that makes them.
  static func worldlyCalls(_ file: Repository.File) -> [Violation] {
    guard let layer = layer(file.path), layer != "RoostEnvironment/POSIX" else { return [] }
    // The seam's own module may hold the system's randomness: it is no system call.
    let words = worldly.filter {
      !(layer == "RoostEnvironment" && $0 == "SystemRandomNumberGenerator")
    }
    return find(words, in: file) { "\($0) belongs in RoostEnvironment/POSIX" }
  }

  /// What never gets in: traps on what came from outside, and notes to oneself.
  static func unfinished(_ file: Repository.File) -> [Violation] {
    let traps = find(["try!"], in: file) { "\($0) traps" }
    // Notes stand in comments, so the whole text counts.
    let notes = ["TO" + "DO", "FIX" + "ME", "XX" + "X"]
    return traps
      + numbered(file.text).flatMap { number, line in
        notes.filter { contains(line, word: $0) }
          .map { Violation(path: file.path, line: number, text: "\($0): do it or drop it") }
      }
  }

  static let longestLine = 110

  static func longLines(_ file: Repository.File) -> [Violation] {
    numbered(file.text).compactMap { number, line in
      line.count <= longestLine
        ? nil : Violation(path: file.path, line: number, text: "\(line.count) columns")
    }
  }

  /// Locks whose waits the thread sanitizer does not see: it reports races that are none.
  static func unseenLocks(_ file: Repository.File) -> [Violation] {
    numbered(codeOnly(file.text)).compactMap { number, line in
      line.contains("Mutex<") || line.contains("Mutex(")
        ? Violation(path: file.path, line: number, text: "`Guarded`, or `Lock`, in place of `Mutex`") : nil
    }
  }

  /// A file says what it is before it does anything: the first lines that are no imports are a
  /// comment, or a documented declaration.
  static func undocumented(_ file: Repository.File) -> [Violation] {
    for (number, line) in numbered(file.text) {
      let words = line.trimmingPrefix(while: { $0 == " " })
      if words.isEmpty || importedModule(line) != nil || words.hasPrefix("#if") || words.hasPrefix("#endif")
        || words.hasPrefix("#else") || words.hasPrefix("// swift-format")
      {
        continue
      }
      if words.hasPrefix("//") || words.hasPrefix("/*") { return [] }
      // An extension is documented where the type is; what it adds must be.
      if words.hasPrefix("extension") || words.hasPrefix("package extension")
        || words.hasPrefix("public extension")
      {
        let near = numbered(file.text).dropFirst(number).prefix(4)
        if near.contains(where: { $0.1.trimmingPrefix(while: { $0 == " " }).hasPrefix("//") }) { return [] }
      }
      return [Violation(path: file.path, line: number, text: "begins without a comment that says what it is")]
    }
    return []
  }

  private static func find(
    _ words: [String], in file: Repository.File, _ text: (String) -> String
  ) -> [Violation] {
    numbered(codeOnly(file.text)).flatMap { number, line in
      words.filter { contains(line, word: $0) }
        .map { Violation(path: file.path, line: number, text: text($0)) }
    }
  }

  /// Whether `word` stands in the line, not as the tail of a longer name.
  static func contains(_ line: Substring, word: String) -> Bool {
    var rest = line
    while let range = rest.firstRange(of: word) {
      let before = range.lowerBound == line.startIndex ? nil : line[line.index(before: range.lowerBound)]
      let after = range.upperBound == line.endIndex ? nil : line[range.upperBound]
      let open = word.last.map { $0.isLetter } ?? false
      func continues(_ character: Character?) -> Bool {
        character.map { $0.isLetter || $0.isNumber || $0 == "_" } ?? false
      }
      if !continues(before) && !(open && continues(after)) { return true }
      rest = rest[range.upperBound...]
    }
    return false
  }

  private static func numbered(_ text: String) -> [(Int, Substring)] {
    text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().map { ($0 + 1, $1) }
  }
}
