import Foundation
import RoostStorage
import Testing

/// What the README shows first, so that it compiles as it stands there. Between the markers is the
/// README's first Swift example, line for line, but for its imports.
private func readmeExample() throws {
  // README begin
  let store = try Store.open(at: "people")           // a directory, made on first use
  let users = try store.tree("users")                // a named, ordered map; a store has many

  try users.put("u:1", "Ada")                        // any bytes: String, [UInt8], RawSpan
  try store.write(.synced) { batch in                // all or nothing, across trees, power loss included
    batch.put("u:2", "Grace", in: users)
    batch.put("u:3", "Edsger", in: users)
    batch.delete("u:1", in: users)
  }

  var cursor = try users.cursor(prefix: "u:")
  while try cursor.next() { print(cursor.keyText, cursor.valueText) }
  // README end
}

/// The README's example does what it says.
// Budget: 5 s
@Suite struct ReadmeExampleTests {
  /// In a process of its own, whose current directory is a new one.
  @Test func `the README's example runs`() async throws {
    let result = try await #require(
      processExitsWith: .success, observing: [\.standardOutputContent]
    ) {
      let directory = NSTemporaryDirectory() + "/roost-readme-" + UUID().uuidString
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      defer { try? FileManager.default.removeItem(atPath: directory) }
      try #require(FileManager.default.changeCurrentDirectoryPath(directory))
      try readmeExample()
    }
    let output = String(decoding: result.standardOutputContent, as: UTF8.self)
    #expect(output.contains("u:2 Grace\nu:3 Edsger\n"))
    #expect(!output.contains("Ada"))
  }
}
