#pragma once
#include <stdbool.h>

/// Whether the file system at `path` lives in memory (tmpfs or ramfs).
bool bench_lives_in_memory(const char *path);

/// The path of the shared library that holds `symbol`, or NULL. Lives as long as the library is loaded.
const char *bench_library_of(const char *symbol);

/// Has the kernel wake the calling thread from its sleeps as exactly as it can; else up to 50 µs late.
void bench_wake_exactly(void);
