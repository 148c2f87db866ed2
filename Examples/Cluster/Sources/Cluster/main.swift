import Roost

// Three nodes of one cluster, in one process: each has its directory and its port, as on three machines. All
// like a post at the same moment, and each says how many likes it has. Run it again, and the likes go on.

func join(_ name: String) async throws -> Database {
  try await Database.join(
    cluster: "music", at: "cluster/\(name)", listen: "127.0.0.1:0", directory: .file("cluster/directory"),
    tls: .plainOnLoopback)
}

// The cluster is founded once three are there: until then they wait for each other. Each holds every key.
async let one = join("one")
async let two = join("two")
async let three = join("three")
let nodes = try await [one, two, three]

try await withThrowingTaskGroup(of: Void.self) { group in
  for node in nodes {
    group.addTask { try await node.keyspace("posts", .eventual).counter("likes:42").increment() }
  }
  try await group.waitForAll()
}

for node in nodes {
  let likes = try await node.keyspace("posts").counter("likes:42").value()
  print("\(node.address ?? "a node") says \(likes) likes")
}
for node in nodes { try await node.close() }
