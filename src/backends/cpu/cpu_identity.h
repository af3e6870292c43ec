// Which processor this is, for the keys of timing caches.
#pragma once
#include <cstdint>
#include <string>

namespace hussar::cpu {

// Bytes of the data caches that one core sees; 0 where the system does not tell.
struct CacheSizes {
  int64_t l1 = 0, l2 = 0, l3 = 0;
};
CacheSizes cache_sizes();

// "AuthenticAMD/25/17/1 32K/1024K/32768K": vendor, family, model, stepping, data caches.
std::string cpu_identity();

}  // namespace hussar::cpu
