#include "CPrefetch.h"

// All is in the header; a target needs a file.
