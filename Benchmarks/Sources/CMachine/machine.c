#define _GNU_SOURCE
#include "machine.h"

#include <dlfcn.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/vfs.h>

bool bench_lives_in_memory(const char *path) {
  struct statfs status;
  if (statfs(path, &status) != 0) return false;
  unsigned long type = (unsigned long)status.f_type;
  return type == 0x01021994UL || type == 0x858458F6UL;
}

const char *bench_library_of(const char *symbol) {
  Dl_info information;
  void *address = dlsym(RTLD_DEFAULT, symbol);
  return address && dladdr(address, &information) ? information.dli_fname : NULL;
}

void bench_wake_exactly(void) { prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); }
