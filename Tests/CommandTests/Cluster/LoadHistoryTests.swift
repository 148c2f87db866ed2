import Testing

/// What the tests of real clusters look for is found where it is.
// Budget: 1 s
struct LoadHistoryTests {
  private typealias Entry = LoadHistory.Entry

  private func problems(_ entries: [Entry], _ found: LoadHistory.Content) -> [String] {
    var history = LoadHistory()
    for entry in entries { history.note(entry) }
    return history.problems(with: ["k": found])
  }

  private func put(_ value: String, _ isAcknowledged: Bool = true, seen: [String] = []) -> Entry {
    Entry(key: "k", change: .put(value), isAcknowledged: isAcknowledged, seen: seen)
  }

  @Test func `values are there until somebody who saw them replaced them`() {
    let two = [put("a"), put("b", seen: ["a"])]
    #expect(problems(two, .init(values: ["b"])).isEmpty)
    #expect(problems(two, .init(values: ["a", "b"])) == ["`k`: a was replaced or deleted, and came back"])
    #expect(problems(two, .init()) == ["`k`: b was acknowledged, and is lost"])
    #expect(problems(two, .init(values: ["b", "c"])) == ["`k`: nobody put c"])
    #expect(problems(two, .init(values: ["b", "b"])).count == 1)
    // Written without having seen each other.
    #expect(problems([put("a"), put("b")], .init(values: ["b"])) == ["`k`: a was acknowledged, and is lost"])
    // Nobody knows whether the second was done.
    let doubtful = [put("a"), put("b", false, seen: ["a"])]
    for values in [["a"], ["b"], []] { #expect(problems(doubtful, .init(values: values)).isEmpty) }
    let deleted = [put("a"), Entry(key: "k", change: .delete, isAcknowledged: true, seen: ["a"])]
    #expect(problems(deleted, .init()).isEmpty)
    #expect(problems(deleted, .init(values: ["a"])).count == 1)
  }

  @Test func `counters count what was acknowledged, and perhaps what is in doubt`() {
    let entries = [(2, true), (3, true), (4, false)].map { amount, isAcknowledged in
      Entry(key: "k", change: .increment(amount), isAcknowledged: isAcknowledged)
    }
    for count in [5, 9] { #expect(problems(entries, .init(count: Int64(count))).isEmpty) }
    for count in [4, 10] { #expect(problems(entries, .init(count: Int64(count))).count == 1) }
  }

  @Test func `sets have what was added`() {
    let entries = [("a", true), ("b", false)].map { element, isAcknowledged in
      Entry(key: "k", change: .add(element), isAcknowledged: isAcknowledged)
    }
    #expect(problems(entries, .init(elements: ["a"])).isEmpty)
    #expect(problems(entries, .init(elements: ["a", "b"])).isEmpty)
    #expect(problems(entries, .init(elements: ["b"])).count == 1)
    #expect(problems(entries, .init(elements: ["a", "c"])).count == 1)
  }
}
