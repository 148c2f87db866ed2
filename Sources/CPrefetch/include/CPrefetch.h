#ifndef ROOST_CPREFETCH_H
#define ROOST_CPREFETCH_H

/// Asks the processor to load a cache line that is about to be read. A hint: any address will do, and
/// nothing but time depends on it. Swift has no such intrinsic.
static inline __attribute__((always_inline)) void roost_prefetch(const void *address) {
  __builtin_prefetch(address, 0, 3);
}

#endif
