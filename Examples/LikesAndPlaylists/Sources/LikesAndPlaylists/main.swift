import Roost

// Songs with likes, and a playlist: run it again, and the counts go on.

struct Song: Codable { var title: String, artist: String }

// README begin
let database = try await Database.open(at: ["music/disk1", "music/disk2"])
let music = try await database.keyspace("music", .eventual)

try await music.counter("likes:42").increment()           // typed: merges, wherever it is written
let list = music.map("playlist:7")                        // a map of typed fields
try await list.register("name").assign("Late at night")
try await list.set("songs").insert("song:42", "song:43")

let old = try await music.get("song:42")                  // values, and the context of having seen them
let song = Song(title: "So What", artist: "Miles Davis")
try await music.put("song:42", value: song, context: old.context, .synced)
// README end

let other = try await music.get("song:43")
let naima = Song(title: "Naima", artist: "John Coltrane")
try await music.put("song:43", value: naima, context: other.context)
try await list.counter("plays").increment()

for key in try await list.set("songs").texts() {
  guard let song = try await music.get(key, as: Song.self) else { continue }
  let likes = try await music.counter("likes:" + key.dropFirst(5)).value()
  print("\(song.title) by \(song.artist), \(likes) likes")
}
let name = try await list.register("name").text() ?? "a playlist"
print("\(name) was played \(try await list.counter("plays").value()) times")
try await database.close()
