/// Roost: an embedded key-value engine that replicates. This module is the face of the whole; a
/// program that needs only the engine depends on `RoostStorage`.
@_exported import RoostCausality
@_exported import RoostCluster
@_exported import RoostEnvironment
@_exported import RoostNetwork
@_exported import RoostStorage
