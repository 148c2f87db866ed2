// swift-tools-version: 6.2

import PackageDescription

let package = Package(
  name: "cluster",
  dependencies: [.package(name: "roost", path: "../..")],
  targets: [
    .executableTarget(
      name: "Cluster", dependencies: [.product(name: "Roost", package: "roost")])
  ]
)
