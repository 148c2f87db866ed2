import Testing

/// The documents: their examples compile and run, and their links lead somewhere.
// Budget: 5 s
@Suite struct DocumentTests {
  static let documents = Repository.files(in: "", suffix: ".md")

  /// The first Swift example of the README is, line for line, what ReadmeExample.swift compiles and
  /// runs.
  @Test(.enabled(if: Repository.exists("README.md")))
  func `the README's example is the one that is compiled`() throws {
    let readme = try #require(Repository.file("README.md"))
    let compiled = try #require(Repository.file("Tests/HouseTests/ReadmeExample.swift"))
    let example = try #require(swiftBlocks(readme.text).first).filter { !$0.hasPrefix("import ") }
    #expect(
      Array(example.drop(while: \.isEmpty)) == markedLines(compiled.text),
      "copy the README's first example between the markers in Tests/HouseTests/ReadmeExample.swift")
  }

  /// The second is, line for line, a part of a program that is built with the package.
  @Test func `the README's second example is a part of the one in Examples`() throws {
    let path = "Examples/LikesAndPlaylists/Sources/LikesAndPlaylists/main.swift"
    let readme = try #require(Repository.file("README.md"))
    let program = try #require(Repository.file(path))
    let manifest = try #require(Repository.file("Package.swift"))
    #expect(manifest.text.contains("Examples/LikesAndPlaylists"))
    #expect(program.lines.count < 40)
    #expect(
      swiftBlocks(readme.text)[1] == markedLines(program.text), "copy it between the markers in \(path)")
  }

  /// Each example is built with the package, and no longer than a screen.
  @Test(arguments: ["Cluster", "Simulated"])
  func `an example is short and built`(_ name: String) throws {
    let path = "Examples/\(name)/Sources/\(name)"
    let program = try #require(Repository.file("\(path)/main.swift"))
    let manifest = try #require(Repository.file("Package.swift"))
    #expect(manifest.text.contains(path))
    #expect(program.lines.count < 40)
  }

  /// Relative links in Markdown lead to files that are there.
  @Test func `links lead somewhere`() {
    var broken: [String] = []
    for document in Self.documents {
      let folder = document.path.split(separator: "/").dropLast().map { $0 + "/" }.joined()
      for link in links(document.text) where !Repository.exists(folder + link) {
        broken.append("\(document.path): \(link)")
      }
    }
    #expect(broken == [])
  }

  @Test func `the licence is the Apache licence`() throws {
    let licence = try #require(Repository.file("LICENSE"))
    #expect(licence.text.contains("Apache License"))
    #expect(licence.text.contains("Version 2.0, January 2004"))
    #expect(licence.text.contains("END OF TERMS AND CONDITIONS"))
  }

  @Test func `examples and links are found in a document`() {
    let fence = "```"
    let text = """
      See [here](a/b.md#part), [there](https://example.org) and [below](#part).
      \(fence)text
      [no](link)
      \(fence)
      \(fence)swift
      let a = 1

        let b = 2
      \(fence)
      """
    #expect(links(text) == ["a/b.md"])
    #expect(swiftBlocks(text) == [["let a = 1", "", "  let b = 2"]])
    #expect(swiftBlocks(text + "\n" + text).count == 2)
    #expect(swiftBlocks("none") == [])
    let source = "x\n  // README begin\n  let a = 1\n\n    b\n  // README end\ny"
    #expect(markedLines(source) == ["let a = 1", "", "  b"])
  }
}

/// The lines of each block fenced as Swift.
private func swiftBlocks(_ markdown: String) -> [[String]] {
  var lines = markdown.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)[...]
  var blocks: [[String]] = []
  while let begin = lines.firstIndex(of: "```swift") {
    let block = lines[(begin + 1)...].prefix(while: { $0 != "```" })
    blocks.append(Array(block))
    lines = lines[block.endIndex...]
  }
  return blocks
}

/// The lines between the markers, without the indentation of the first marker.
private func markedLines(_ source: String) -> [String] {
  let lines = source.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  guard let begin = lines.firstIndex(where: { $0.hasSuffix("// README begin") }) else { return [] }
  let indentation = lines[begin].prefix(while: { $0 == " " }).count
  return lines[(begin + 1)...].prefix(while: { !$0.hasSuffix("// README end") }).map { line in
    String(line.dropFirst(min(indentation, line.prefix(while: { $0 == " " }).count)))
  }
}

/// The targets of relative links outside fenced blocks, without their fragment.
private func links(_ markdown: String) -> [String] {
  var result: [String] = []
  var fenced = false
  for line in markdown.split(separator: "\n", omittingEmptySubsequences: false) {
    if line.hasPrefix("```") { fenced.toggle() }
    if fenced { continue }
    for match in line.matches(of: /\]\(([^)\s]+)\)/) {
      let target = match.1.prefix(while: { $0 != "#" })
      if !target.isEmpty && !target.contains("://") && !target.hasPrefix("mailto:") {
        result.append(String(target))
      }
    }
  }
  return result
}
