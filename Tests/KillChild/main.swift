// The child of the kill tests: `KillChild DIR mapped|calls` opens the store, goes on from where it
// was, and writes batches until it is killed, printing `acked FROM TO` for each one that was
// acknowledged. `KillChild rebalance DIR START` writes to a database instead: see RebalanceChild.

import Foundation
import RoostStorage
import TestSupport

/// Without a buffer: what is said before the kill is heard.
func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

if CommandLine.arguments[1] == "rebalance" {
  try RebalanceChild.run(CommandLine.arguments[2], from: Int(CommandLine.arguments[3]) ?? 0)
}

let access: StoreOptions.LogAccess = CommandLine.arguments[2] == "calls" ? .calls : .mapped
let store = try Store.open(at: CommandLine.arguments[1], KillPlan.options(access))
let trees = try KillPlan.treeNames.map { try store.tree($0, KillPlan.treeOptions) }
var next = 0
if let bytes = try trees[0].get(KillPlan.counter) {
  next = Int(String(decoding: bytes, as: UTF8.self)) ?? -1
}
say("begins \(next)")
while true {
  try KillPlan.write(next, store, trees)
  say("acked \(next) \(next + 1)")
  next += 1
}
