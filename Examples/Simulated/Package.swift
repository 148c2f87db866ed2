// swift-tools-version: 6.2

import PackageDescription

let package = Package(
  name: "simulated",
  dependencies: [.package(name: "roost", path: "../..")],
  targets: [
    .executableTarget(
      name: "Simulated", dependencies: [.product(name: "RoostSimulation", package: "roost")])
  ]
)
