// What replicas say to each other to find the keys in which they differ:
//
//   request := version u8 (2) | head (`MessageHead`) | partition varint | seed u64
//            | flags u8 (bit 0: what the answer is about is to survive the machine before it comes)
//            | question u8 | rest
//   rest    := of a root (0), of groups (1): nothing
//            | of leaves (2): groups varint (bit i: group i; at least one)
//            | of keys (3): leaves 16 × u64 (bit i % 64 of word i / 64: leaf i) | after lengthPrefixed
//              (empty: from the first key on) | byte limit varint
//   answer  := version u8 (1) | question u8 | what
//   what    := of a root: hash u64; of groups: 32 × u64; of leaves: 32 × u64 for each group asked for,
//              ascending
//            | of keys: is end u8 | through lengthPrefixed (empty at the end) | count varint
//              | (key lengthPrefixed, hash u64)*

/// A question about a partition's tree. A plain value.
struct TreeRequest: Equatable, Sendable {
  /// By the list of the partition.
  var head: MessageHead
  var partition: Int
  /// Of the hashes: one number for all questions of a comparison.
  var seed: UInt64
  var question: TreeComparison.Question
  /// How long a page of keys may be, about.
  var byteLimit = 0
  /// Whether what the other holds is to survive its machine before it answers.
  var isSynced = false

  func encoded() -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 2)
    writer.write(head)
    writer.write(count: partition)
    writer.write(fixed: seed)
    writer.write(byte: isSynced ? 1 : 0)
    writer.write(byte: question.number)
    switch question {
    case .root, .groups: break
    case .leaves(let groups): writer.write(varint: UInt64(groups.bits))
    case .keys(let leaves, let after):
      for word in leaves.words { writer.write(fixed: word) }
      writer.write(lengthPrefixed: after)
      writer.write(count: byteLimit)
    }
    return writer.bytes
  }

  init(
    _ head: MessageHead, partition: Int, seed: UInt64, _ question: TreeComparison.Question,
    byteLimit: Int = 0, isSynced: Bool = false
  ) {
    self.head = head
    self.partition = partition
    self.seed = seed
    self.question = question
    self.byteLimit = byteLimit
    self.isSynced = isSynced
  }

  /// - Throws: `.invalidArgument`, `.newerFormat`.
  init(decoding bytes: [UInt8]) throws(DatabaseError) {
    var reader = FieldReader(bytes, "a question about a tree", .invalidArgument)
    guard try reader.readVersion(upTo: 2) == 2 else { throw reader.damaged("a version of no release") }
    head = try reader.readHead()
    partition = Int(try reader.readOrdinal())
    seed = try reader.readFixed()
    isSynced = try reader.readFlag()
    switch try reader.readByte() {
    case 0: question = .root
    case 1: question = .groups
    case 2:
      let bits = try reader.readVarint()
      guard bits != 0, let bits = UInt32(exactly: bits) else { throw reader.damaged("groups of \(bits)") }
      question = .leaves(GroupSet(bits: bits))
    case 3:
      var words: [UInt64] = []
      for _ in 0..<LeafSet.wordCount { words.append(try reader.readFixed()) }
      question = .keys(LeafSet(words: words), after: try reader.readLengthPrefixed())
      byteLimit = Int(try reader.readOrdinal())
    case let other: throw reader.damaged("a question of kind \(other)")
    }
    try reader.readEnd()
  }
}

extension TreeComparison.Question {
  /// In messages.
  fileprivate var number: UInt8 {
    switch self {
    case .root: 0
    case .groups: 1
    case .leaves: 2
    case .keys: 3
    }
  }

  /// How many hashes answer it; `nil` where keys do.
  fileprivate var hashCount: Int? {
    switch self {
    case .root: 1
    case .groups: HashTree.groupCount
    case .leaves(let groups): groups.count * HashTree.groupLeaves
    case .keys: nil
    }
  }
}

/// The answer to a ``TreeRequest``. A plain value.
enum TreeAnswer: Equatable, Sendable {
  case hashes([UInt64])
  case keys(KeyPage)

  /// - Parameter question: which it answers.
  func encoded(_ question: TreeComparison.Question) -> [UInt8] {
    var writer = FieldWriter()
    writer.write(byte: 1)
    writer.write(byte: question.number)
    switch self {
    case .hashes(let hashes): for hash in hashes { writer.write(fixed: hash) }
    case .keys(let page):
      writer.write(byte: page.through == nil ? 1 : 0)
      writer.write(lengthPrefixed: page.through ?? [])
      writer.write(count: page.keys.count)
      for key in page.keys {
        writer.write(lengthPrefixed: key.key)
        writer.write(fixed: key.hash)
      }
    }
    return writer.bytes
  }

  /// - Parameter question: which it is to answer.
  /// - Throws: `.corruption`, `.newerFormat`.
  init(decoding bytes: [UInt8], _ question: TreeComparison.Question) throws(DatabaseError) {
    var reader = FieldReader(bytes, "an answer about a tree")
    _ = try reader.readVersion(upTo: 1)
    let number = try reader.readByte()
    guard number == question.number else {
      throw reader.damaged("it answers question \(number), not \(question.number)")
    }
    if let count = question.hashCount {
      var hashes: [UInt64] = []
      for _ in 0..<count { hashes.append(try reader.readFixed()) }
      self = .hashes(hashes)
    } else {
      var page = KeyPage()
      let isAtEnd = try reader.readFlag()
      let through = try reader.readLengthPrefixed()
      guard isAtEnd == through.isEmpty else { throw reader.damaged("an end that is none") }
      if !isAtEnd { page.through = through }
      // The least that a key takes: its length, a byte and the hash.
      for _ in 0..<(try reader.readCount(of: 10)) {
        let key = try reader.readLengthPrefixed()
        guard (1...StoredKey.longestKey).contains(key.count) else {
          throw reader.damaged("a key of \(key.count) bytes")
        }
        page.keys.append(HashedKey(key: key, hash: try reader.readFixed()))
      }
      self = .keys(page)
    }
    try reader.readEnd()
  }
}
