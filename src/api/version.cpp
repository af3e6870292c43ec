// The version as the C interface tells it.
#include "hussar/version.h"

#include "hussar/hussar.h"

extern "C" const char* hussar_version(void) { return HUSSAR_VERSION; }
