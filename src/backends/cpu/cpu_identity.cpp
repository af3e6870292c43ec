// Reading CPUID and what the C library knows of the caches.
#include "backends/cpu/cpu_identity.h"

#include <cpuid.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace hussar::cpu {

CacheSizes cache_sizes() {
  auto size = [](int name) { return std::max<int64_t>(::sysconf(name), 0); };
  return {size(_SC_LEVEL1_DCACHE_SIZE), size(_SC_LEVEL2_CACHE_SIZE), size(_SC_LEVEL3_CACHE_SIZE)};
}

std::string cpu_identity() {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  char vendor[13] = "unknown";
  if (__get_cpuid(0, &eax, &ebx, &ecx, &edx) != 0) {
    std::memcpy(vendor, &ebx, 4);
    std::memcpy(vendor + 4, &edx, 4);
    std::memcpy(vendor + 8, &ecx, 4);
    vendor[12] = 0;
  }
  __get_cpuid(1, &eax, &ebx, &ecx, &edx);
  // The extended fields count when the base family says so (Intel SDM volume 2, CPUID leaf 1).
  const uint32_t base_family = eax >> 8 & 0xf;
  const uint32_t family = base_family == 0xf ? base_family + (eax >> 20 & 0xff) : base_family;
  const uint32_t model = (base_family == 0xf || base_family == 6 ? eax >> 12 & 0xf0 : 0) | (eax >> 4 & 0xf);
  const CacheSizes caches = cache_sizes();
  return fmt::format("{}/{}/{}/{} {}K/{}K/{}K", vendor, family, model, eax & 0xf, caches.l1 / 1024, caches.l2 / 1024,
                     caches.l3 / 1024);
}

}  // namespace hussar::cpu
