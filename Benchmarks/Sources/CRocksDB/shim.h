#include <rocksdb/c.h>

// The C interface has the HyperClock cache from RocksDB 8 on; older libraries give NULL here.
__attribute__((weak)) rocksdb_cache_t *rocksdb_cache_create_hyper_clock(
    size_t capacity, size_t estimated_entry_charge);

static inline rocksdb_cache_t *bench_hyper_clock_cache(size_t capacity, size_t entry) {
  return rocksdb_cache_create_hyper_clock ? rocksdb_cache_create_hyper_clock(capacity, entry) : 0;
}
