// swift-tools-version: 6.2

import PackageDescription

let package = Package(
  name: "bank",
  dependencies: [.package(name: "roost", path: "../..")],
  targets: [
    .executableTarget(name: "Bank", dependencies: [.product(name: "Roost", package: "roost")])
  ]
)
