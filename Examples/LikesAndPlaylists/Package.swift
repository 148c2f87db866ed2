// swift-tools-version: 6.2

import PackageDescription

let package = Package(
  name: "likes-and-playlists",
  dependencies: [.package(name: "roost", path: "../..")],
  targets: [
    .executableTarget(
      name: "LikesAndPlaylists", dependencies: [.product(name: "Roost", package: "roost")])
  ]
)
