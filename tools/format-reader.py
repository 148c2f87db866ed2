#!/usr/bin/env python3
"""Reads a Roost store without Roost: the second implementation of FORMAT.md.

    tools/format-reader.py STORE

Prints every live key and value of every tree as one JSON object a line, keys and values in hexadecimal:
trees by id, keys ascending. Opens nothing for writing and takes no lock, so the store must not be in use.
Every checksum and every rule of FORMAT.md is checked; the first thing that is wrong ends it with code 1.

Written from FORMAT.md alone, with the standard library alone: what this cannot read, the document does
not describe. Section numbers are FORMAT.md's.
"""

import bisect
import json
import os
import struct
import sys

M64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


class Damaged(Exception):
    """What is on disk is not what FORMAT.md says."""


def require(condition, text):
    if not condition:
        raise Damaged(text)


# ---- Section 1: integers, varints, XXH64, LZ4 ----

P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def rotate(x, n):
    return ((x << n) | (x >> (64 - n))) & M64


def lane(acc, word):
    return rotate((acc + word * P2) & M64, 31) * P1 & M64


def xxh64(data, seed=0):
    at, end = 0, len(data)
    if end >= 32:
        lanes = [(seed + P1 + P2) & M64, (seed + P2) & M64, seed, (seed - P1) & M64]
        while at + 32 <= end:
            words = struct.unpack_from("<4Q", data, at)
            lanes = [lane(acc, word) for acc, word in zip(lanes, words)]
            at += 32
        h = sum(rotate(acc, n) for acc, n in zip(lanes, (1, 7, 12, 18))) & M64
        for acc in lanes:
            h = ((h ^ lane(0, acc)) * P1 + P4) & M64
    else:
        h = (seed + P5) & M64
    h = (h + end) & M64
    while at + 8 <= end:
        h = (rotate(h ^ lane(0, u64(data, at)), 27) * P1 + P4) & M64
        at += 8
    if at + 4 <= end:
        h = (rotate(h ^ (u32(data, at) * P1 & M64), 23) * P2 + P3) & M64
        at += 4
    while at < end:
        h = rotate(h ^ (data[at] * P5 & M64), 11) * P1 & M64
        at += 1
    h = (h ^ (h >> 33)) * P2 & M64
    h = (h ^ (h >> 29)) * P3 & M64
    return h ^ (h >> 32)


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


class Reader:
    """Takes values off the front of some bytes."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def is_at_end(self):
        return self.at >= len(self.data)

    def take(self, count):
        require(self.at + count <= len(self.data), "a value ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self):
        return self.take(1)[0]

    def u64(self):
        return u64(self.take(8), 0)

    def varint(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            require(value <= M64, "a varint above 64 bits")
            if byte < 0x80:
                return value
            shift += 7
            require(shift < 70, "a varint of more than ten bytes")

    def prefixed(self):
        return self.take(self.varint())


def lz4_block(data, size):
    """The contents of an LZ4 block (github.com/lz4/lz4, doc/lz4_Block_format.md)."""
    out, reader = bytearray(), Reader(data)

    def length(nibble):
        total = nibble
        while nibble == 15:
            byte = reader.byte()
            total += byte
            if byte < 255:
                break
        return total

    while True:
        token = reader.byte()
        out += reader.take(length(token >> 4))
        if reader.is_at_end():
            break
        offset = struct.unpack("<H", reader.take(2))[0]
        require(0 < offset <= len(out), "an LZ4 offset outside the output")
        count = length(token & 15) + 4
        require(len(out) + count <= size, "an LZ4 block longer than it says")
        for _ in range(count):
            out.append(out[-offset])
    require(len(out) == size, "an LZ4 block of another length than it says")
    return bytes(out)


# ---- Section 3: the marker ----


def read_marker(directory):
    """The store's identity as 16 bytes, and the manifest's number."""
    text = read_file(os.path.join(directory, "CURRENT"))
    lines = text.decode("utf-8").split("\n")
    require(len(lines) == 5 and lines[4] == "", "the marker has not four lines")
    require(lines[0].startswith("roost store "), "no Roost store")
    require(lines[0] == "roost store 1", "a store of another format version: " + lines[0])
    require(lines[1].startswith("identity ") and lines[2].startswith("manifest "), "the marker's lines")
    high, low = (int(half, 16) for half in lines[1][9:].split("-"))
    body = "roost store 1\nidentity %016x-%016x\nmanifest %d\n" % (high, low, int(lines[2][9:]))
    whole = body + "check %016x\n" % xxh64(body.encode())
    require(whole.encode() == text, "the marker's check line does not match")
    return struct.pack("<QQ", low, high), int(lines[2][9:])


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


# ---- Section 4: log files ----

RECORD, MARK, END = 1, 2, 3


class Log:
    def __init__(self, path, purpose, number, identity, salt=None):
        self.path, self.number, self.data = path, number, read_file(path)
        head = self.data[:64]
        require(len(head) == 64 and head[:8] == b"ROOSTLOG", path + ": no log file")
        require(u64(head, 56) == xxh64(head[:56]), path + ": the header's checksum")
        require(1 <= u32(head, 8) <= (2 if purpose == 1 else 1), path + ": another format version")
        self.salt = u64(head, 24)
        require(u32(head, 12) == purpose and u64(head, 16) == number, path + ": another log's header")
        require(head[32:48] == identity, path + ": another store's log")
        require(salt is None or salt == self.salt, path + ": not the salt that the manifest names")

    def frame(self, at):
        """(kind, payload, end) of the frame at an offset, or None where none stands."""
        if at + 16 > len(self.data):
            return None
        length, kind = u32(self.data, at + 8), u32(self.data, at + 12)
        end = at + 16 + length
        if end > len(self.data):
            return None
        seed = self.salt ^ (at * GOLDEN & M64)
        if xxh64(self.data[at + 8 : end], seed) != u64(self.data, at):
            return None
        require(
            kind == RECORD or (kind, length) in ((MARK, 16), (END, 8)),
            "%s: a frame of no known shape at %d" % (self.path, at),
        )
        return kind, self.data[at + 16 : end], (end + 7) & ~7

    def marks_from(self, at):
        """What marks at or behind an offset state, at whatever multiple of 8 they stand."""
        while at + 32 <= len(self.data):
            if self.data[at + 8 : at + 16] == b"\x10\0\0\0\2\0\0\0":
                found = self.frame(at)
                if found:
                    yield struct.unpack("<QQ", found[1])
            at += 8


def replay(logs, deliver):
    """Hands every record's payload to `deliver`, up to the first place where no frame stands."""
    for index, log in enumerate(logs):
        later = logs[index + 1 :]
        at, ended = 64, False
        while not ended:
            found = log.frame(at)
            if not found:
                break
            kind, payload, at = found
            if kind == RECORD:
                deliver(payload)
            elif kind == END:
                ended = True
                require(later and u64(payload, 0) == later[0].number, log.path + ": names no next log")
        if ended:
            continue
        # The stop: before what some mark states as synced it is damage, else the end.
        stop = (log.number, at)
        stated = list(log.marks_from(at)) + [mark for other in later for mark in other.marks_from(64)]
        require(all(mark <= stop for mark in stated), "%s: synced bytes are gone from %d" % (log.path, at))
        return


# ---- Section 5: the manifest ----


class Tree:
    def __init__(self, name):
        self.name, self.flushed, self.tables = name, 0, {}
        self.entries, self.tombstones = {}, []

    def add(self, key, sequence, value):
        """Of a key's versions the one with the greatest sequence number counts; a value of None deletes."""
        if key not in self.entries or self.entries[key][0] <= sequence:
            self.entries[key] = (sequence, value)

    def live(self):
        """Section 8: what a read of all keys sees."""
        bounds = sorted({bound for start, end, _ in self.tombstones for bound in (start, end)})
        newest = [0] * len(bounds)
        for start, end, sequence in self.tombstones:
            for i in range(bisect.bisect_left(bounds, start), bisect.bisect_left(bounds, end)):
                newest[i] = max(newest[i], sequence)
        for key in sorted(self.entries):
            sequence, value = self.entries[key]
            at = bisect.bisect_right(bounds, key) - 1
            if value is not None and (at < 0 or newest[at] <= sequence):
                yield key, value


class Contents:
    def __init__(self):
        self.trees, self.logs = {}, []

    def apply(self, record):
        edits = Reader(record)
        while not edits.is_at_end():
            self.apply_one(edits.byte(), edits)

    def apply_one(self, kind, edit):
        if kind == 1:
            tree, name = edit.varint(), edit.prefixed().decode("utf-8")
            options = [edit.varint() for _ in range(edit.byte())]
            require(len(options) <= 6, "a tree with unknown options")
            require(tree not in self.trees, "a tree is created twice")
            self.trees[tree] = Tree(name)
        elif kind == 2:
            del self.trees[edit.varint()]
        elif kind == 3:
            tree, level = self.trees[edit.varint()], edit.byte()
            number, identity, size = edit.varint(), edit.take(16), edit.varint()
            edit.prefixed(), edit.prefixed(), edit.byte()
            for _ in range(7):
                edit.varint()
            require(level <= 6, "a level below 6")
            tree.tables[level, number] = (identity, size)
        elif kind == 4:
            tree, level, number = self.trees[edit.varint()], edit.byte(), edit.varint()
            del tree.tables[level, number]
        elif kind == 5:
            self.logs.append((edit.varint(), edit.u64(), edit.varint()))
        elif kind == 6:
            first = edit.varint()
            self.logs = [log for log in self.logs if log[0] >= first]
        elif kind == 7:
            tree, sequence = self.trees[edit.varint()], edit.varint()
            tree.flushed = max(tree.flushed, sequence)
        elif kind in (8, 9, 10):
            edit.varint()
        else:
            raise Damaged("an edit of unknown kind %d" % kind)


# ---- Section 6: batches ----


def apply_batch(contents, record):
    batch = Reader(record)
    sequence, count = batch.u64(), u32(batch.take(4), 0)
    for sequence in range(sequence, sequence + count):
        kind, tree = batch.byte(), contents.trees.get(batch.varint())
        key = batch.prefixed()
        require(kind <= 3 and 1 <= len(key) <= 65535, "a batch with no known operation")
        second = batch.prefixed() if kind in (1, 2) else None
        if tree is None or sequence <= tree.flushed:
            continue
        if kind == 2:
            require(key < second, "a range that is none")
            tree.tombstones.append((key, second, sequence))
        else:
            tree.add(key, sequence, second)
    require(batch.is_at_end(), "a batch that goes on after its last operation")


# ---- Section 7: tables ----


class Table:
    def __init__(self, path, number, tree, identity, size):
        self.path, self.data = path, read_file(path)
        require(len(self.data) == size, path + ": not the size that the manifest names")
        footer = self.data[-128:]
        require(len(footer) == 128 and footer[120:] == b"ROOSTSST", path + ": no table")
        require(u64(footer, 112) == xxh64(footer[:112]), path + ": the footer's checksum")
        require(u32(footer, 108) == 1, path + ": another format version")
        require(footer[48:64] == identity, path + ": another table's identity")
        require(u64(footer, 64) == tree and u64(footer, 72) == number, path + ": another table's footer")
        low, high = struct.unpack("<QQ", identity)
        self.seed = low ^ rotate(high, 32)
        self.top, self.tombstones, self.properties = ((u64(footer, i), u64(footer, i + 8)) for i in (0, 16, 32))

    def block(self, handle):
        offset, size = handle
        require(offset + size + 9 <= len(self.data) - 128, self.path + ": a handle leads out of the file")
        covered = self.data[offset : offset + size + 1]
        seed = self.seed ^ (offset * GOLDEN & M64)
        require(
            u64(self.data, offset + size + 1) == xxh64(covered, seed),
            "%s: the checksum of the block at %d" % (self.path, offset),
        )
        if covered[-1] == 0:
            return covered[:-1]
        require(covered[-1] == 1, self.path + ": an unknown compression")
        reader = Reader(covered[:-1])
        count = reader.varint()
        return lz4_block(reader.data[reader.at :], count)

    @staticmethod
    def entries(block, payload):
        """(key, payload, value) of each entry; `payload` reads the payload and returns the value's length."""
        restarts = u32(block, len(block) - 4)
        end = len(block) - 4 * (restarts + 1)
        require(restarts >= 1 and end >= 0 and u32(block, end) == 0, "a block's restart points")
        reader, key = Reader(block[:end]), b""
        while not reader.is_at_end():
            shared, unshared = reader.varint(), reader.varint()
            fields, value_length = payload(reader)
            require(shared <= len(key), "an entry shares more than the key before it has")
            key = key[:shared] + reader.take(unshared)
            yield key, fields, reader.take(value_length)

    @staticmethod
    def handles(count):
        return lambda reader: ([(reader.varint(), reader.varint()) for _ in range(count)], 0)

    @staticmethod
    def tag(reader):
        word = reader.varint()
        sequence, kind = word >> 4, word & 15
        require(kind <= 1, "an entry of unknown kind")
        return (sequence, kind), reader.varint() if kind == 1 else 0

    def read_into(self, tree):
        last = None
        for _, (partition, filter), _ in self.entries(self.block(self.top), self.handles(2)):
            bloom = self.block(filter) if filter[1] else None
            for separator, (data,), _ in self.entries(self.block(partition), self.handles(1)):
                for key, (sequence, kind), value in self.entries(self.block(data), self.tag):
                    require(key <= separator, self.path + ": a key above its separator")
                    order = (key, -sequence)
                    require(last is None or last < order, self.path + ": entries out of order")
                    require(bloom is None or may_contain(bloom, key), self.path + ": a filter denies a key")
                    last = order
                    tree.add(key, sequence, value if kind == 1 else None)
        if self.tombstones[1]:
            fragments = Reader(self.block(self.tombstones))
            while not fragments.is_at_end():
                start, end = fragments.prefixed(), fragments.prefixed()
                require(start < end, self.path + ": a range that is none")
                for _ in range(fragments.varint()):
                    tree.tombstones.append((start, end, fragments.varint()))
        properties = Reader(self.block(self.properties))
        while not properties.is_at_end():
            properties.prefixed(), properties.prefixed()


def may_contain(bloom, key):
    line_count, probes = u32(bloom, len(bloom) - 8), bloom[-4]
    h = xxh64(key)
    line = ((h >> 32) * line_count >> 32) * 64
    g = h & 0xFFFFFFFF
    for _ in range(probes):
        bit = g >> 23
        if not bloom[line + bit // 8] >> bit % 8 & 1:
            return False
        g = g * 0x9E3779B9 & 0xFFFFFFFF
    return True


# ---- Section 2: the directory ----


def read_store(directory):
    def path(number, ending):
        return os.path.join(directory, "%06d.%s" % (number, ending))

    identity, number = read_marker(directory)
    contents = Contents()
    replay([Log(path(number, "manifest"), 2, number, identity)], contents.apply)
    logs = []
    for number, salt, capacity in contents.logs:
        log = Log(path(number, "log"), 1, number, identity, salt)
        require(len(log.data) >= capacity, log.path + ": shorter than the manifest says")
        logs.append(log)
    for tree_id, tree in contents.trees.items():
        for (_, number), (table_identity, size) in tree.tables.items():
            Table(path(number, "sst"), number, tree_id, table_identity, size).read_into(tree)
    replay(logs, lambda record: apply_batch(contents, record))
    return contents


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: format-reader.py STORE")
    try:
        contents = read_store(sys.argv[1])
        for _, tree in sorted(contents.trees.items()):
            for key, value in tree.live():
                print(json.dumps({"tree": tree.name, "key": key.hex(), "value": value.hex()}))
    except (Damaged, OSError, KeyError, IndexError, ValueError, struct.error) as problem:
        sys.exit("format-reader: %s" % (problem or type(problem).__name__))


if __name__ == "__main__":
    main()
