// swift-tools-version: 6.2

import PackageDescription

// A package of its own, so that the peers are linked here and nowhere else. RocksDB comes from the system,
// or from the prefix that ROCKSDB_ROOT names (include/ and lib/ below it).
let rocksRoot = Context.environment["ROCKSDB_ROOT"]
let rocksHeaders = rocksRoot.map { ["-Xcc", "-I\($0)/include"] } ?? []
let rocksLibraries = rocksRoot.map { ["-L\($0)/lib", "-Xlinker", "-rpath", "-Xlinker", "\($0)/lib"] } ?? []

let package = Package(
  name: "roost-benchmarks",
  products: [.executable(name: "roost-bench", targets: ["RoostBench"])],
  dependencies: [
    .package(name: "roost", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
  ],
  targets: [
    .systemLibrary(name: "CRocksDB", providers: [.apt(["librocksdb-dev"]), .brew(["rocksdb"])]),
    .systemLibrary(name: "CLevelDB", providers: [.apt(["libleveldb-dev"]), .brew(["leveldb"])]),
    .systemLibrary(name: "CSQLite", providers: [.apt(["libsqlite3-dev"]), .brew(["sqlite"])]),
    .target(name: "CMachine"),
    .target(name: "Latency", swiftSettings: [.swiftLanguageMode(.v6)]),
    .testTarget(
      name: "LatencyTests", dependencies: ["Latency"], swiftSettings: [.swiftLanguageMode(.v6)]),
    .target(name: "PeerProtocols", swiftSettings: [.swiftLanguageMode(.v6)]),
    .testTarget(
      name: "PeerProtocolsTests", dependencies: ["PeerProtocols"],
      swiftSettings: [.swiftLanguageMode(.v6)]),
    .executableTarget(
      name: "RoostBench",
      dependencies: [
        "CRocksDB", "CLevelDB", "CSQLite", "CMachine", "Latency", "PeerProtocols",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Roost", package: "roost"),
        .product(name: "RoostStorage", package: "roost"),
      ],
      swiftSettings: [
        .swiftLanguageMode(.v6),
        // Cursors that own a snapshot are not copyable, and are an engine's associated type.
        .enableExperimentalFeature("SuppressedAssociatedTypes"),
        .unsafeFlags(rocksHeaders),
      ],
      linkerSettings: [.unsafeFlags(rocksLibraries)]),
  ]
)
