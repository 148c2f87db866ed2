// swift-tools-version: 6.2

import PackageDescription

/// What every target of this package is compiled with. No `unsafeFlags`: they would stop others
/// from depending on the package.
let house: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .enableExperimentalFeature("Lifetimes"),
]

let package = Package(
  name: "roost",
  products: [
    .library(name: "Roost", targets: ["Roost"]),
    .library(name: "RoostService", targets: ["RoostService"]),
    .library(name: "RoostStorage", targets: ["RoostStorage"]),
    .library(name: "RoostCausality", targets: ["RoostCausality"]),
    .library(name: "RoostEnvironment", targets: ["RoostEnvironment"]),
    .library(name: "RoostSimulation", targets: ["RoostSimulation"]),
    .executable(name: "roost", targets: ["RoostCommand"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-system", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.6"),
    .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-metrics.git", from: "2.13.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", from: "2.13.0"),
  ],
  targets: [
    .systemLibrary(
      name: "CLZ4", pkgConfig: "liblz4",
      providers: [.apt(["liblz4-dev"]), .yum(["lz4-devel"]), .brew(["lz4"])]),
    .target(
      name: "RoostEnvironment",
      dependencies: [.product(name: "SystemPackage", package: "swift-system")],
      swiftSettings: house),
    .target(name: "CPrefetch"),
    .target(
      name: "RoostStorage", dependencies: ["RoostEnvironment", "CLZ4", "CPrefetch"],
      swiftSettings: house),
    .target(
      name: "RoostSimulation",
      dependencies: ["RoostTransactions", "RoostCluster", "RoostCausality", "RoostEnvironment"],
      swiftSettings: house),
    .target(name: "RoostCausality", swiftSettings: house),
    .target(
      name: "RoostCluster",
      dependencies: ["RoostCausality", "RoostStorage", "RoostEnvironment", "CPrefetch"],
      swiftSettings: house + [.enableUpcomingFeature("InternalImportsByDefault")]),
    .target(
      name: "RoostNetwork",
      dependencies: [
        "RoostCluster", "RoostCausality", "RoostStorage", "RoostEnvironment",
        .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOTLS", package: "swift-nio"), .product(name: "NIOSSL", package: "swift-nio-ssl"),
        .product(name: "Logging", package: "swift-log"), .product(name: "Metrics", package: "swift-metrics"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: house + [.enableUpcomingFeature("InternalImportsByDefault")]),
    .target(
      name: "RoostTransactions",
      dependencies: ["RoostCluster", "RoostCausality", "RoostStorage", "RoostEnvironment"],
      swiftSettings: house + [.enableUpcomingFeature("InternalImportsByDefault")]),
    .target(
      name: "Roost",
      dependencies: [
        "RoostNetwork", "RoostTransactions", "RoostCluster", "RoostCausality", "RoostStorage",
        "RoostEnvironment",
      ],
      swiftSettings: house + [
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
        .enableUpcomingFeature("InternalImportsByDefault"),
      ]),
    .target(
      name: "RoostService",
      dependencies: ["Roost", .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")],
      swiftSettings: house + [.enableUpcomingFeature("InternalImportsByDefault")]),
    .executableTarget(
      name: "RoostCommand",
      dependencies: [
        "Roost", "RoostNetwork", "RoostTransactions", "RoostCluster", "RoostCausality", "RoostStorage",
        "RoostEnvironment", "RoostSimulation",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "tools/roost", swiftSettings: house),
    // Each example is a package of its own; here they are built with the tests, so that they stay right.
    .executableTarget(
      name: "LikesAndPlaylists", dependencies: ["Roost"],
      path: "Examples/LikesAndPlaylists/Sources/LikesAndPlaylists", swiftSettings: house),
    .executableTarget(
      name: "Bank", dependencies: ["Roost"], path: "Examples/Bank/Sources/Bank", swiftSettings: house),
    .executableTarget(
      name: "Cluster", dependencies: ["Roost"], path: "Examples/Cluster/Sources/Cluster",
      swiftSettings: house),
    .executableTarget(
      name: "Simulated", dependencies: ["RoostSimulation"], path: "Examples/Simulated/Sources/Simulated",
      swiftSettings: house),
    .target(
      name: "TestSupport", dependencies: ["RoostStorage", "RoostCluster", "RoostSimulation"],
      path: "Tests/Support", swiftSettings: house),
    .executableTarget(
      name: "KillChild", dependencies: ["RoostStorage", "RoostCluster", "TestSupport"],
      path: "Tests/KillChild",
      swiftSettings: house),
    .testTarget(
      name: "EnvironmentTests", dependencies: ["RoostEnvironment", "TestSupport"],
      swiftSettings: house),
    .testTarget(
      name: "SimulationTests", dependencies: ["RoostSimulation", "TestSupport"],
      swiftSettings: house),
    .testTarget(
      name: "StorageTests", dependencies: ["RoostStorage", "RoostSimulation", "TestSupport"],
      swiftSettings: house),
    .testTarget(
      name: "CausalityTests", dependencies: ["RoostCausality", "RoostEnvironment", "TestSupport"],
      swiftSettings: house),
    .testTarget(
      name: "ClusterTests", dependencies: ["RoostCluster", "RoostSimulation", "TestSupport"],
      swiftSettings: house),
    .testTarget(
      name: "NetworkTests",
      dependencies: [
        "RoostNetwork", "RoostCluster", "RoostSimulation", "TestSupport",
        .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
        .product(name: "Logging", package: "swift-log"), .product(name: "Metrics", package: "swift-metrics"),
      ], swiftSettings: house),
    .testTarget(
      name: "TransactionTests",
      dependencies: ["RoostTransactions", "RoostSimulation", "TestSupport"], swiftSettings: house),
    .testTarget(
      name: "DatabaseTests",
      dependencies: ["Roost", "RoostNetwork", "RoostSimulation", "RoostTransactions", "TestSupport"],
      swiftSettings: house),
    .testTarget(
      name: "ServiceTests",
      dependencies: [
        "RoostService", "Roost", "TestSupport",
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "Logging", package: "swift-log"),
      ], swiftSettings: house),
    .testTarget(
      name: "CommandTests",
      dependencies: [
        "RoostCommand", "Roost", "RoostNetwork", "RoostCluster", "RoostCausality", "RoostStorage",
        "RoostEnvironment", "TestSupport",
      ],
      swiftSettings: house),
    .testTarget(name: "HouseTests", dependencies: ["RoostStorage", "TestSupport"], swiftSettings: house),
  ]
)
