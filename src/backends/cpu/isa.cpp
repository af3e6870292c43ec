// Detection of the instruction set level: CPUID says what the core has, XCR0 what the operating system saves.
#include "backends/cpu/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace hussar::cpu {
namespace {

uint64_t saved_register_state() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Linux lets a process use the tile registers once it has asked.
bool may_use_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool has_avx512_fp16() {
#if defined(HUSSAR_EMULATE_FP16)
  return true;
#else
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr uint32_t kAvx512Fp16 = 1u << 23;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kAvx512Fp16) != 0;
#endif
}

bool detect_avx512_vnni() {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr uint32_t kAvx512Vnni = 1u << 11;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ecx & kAvx512Vnni) != 0;
}

bool detect_avx512_bf16() {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr uint32_t kAvx512Bf16 = 1u << 5;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & kAvx512Bf16) != 0;
}

bool has_amx(uint64_t state) {
  if (!detect_avx512_bf16()) return false;
#if defined(HUSSAR_EMULATE_AMX)
  static_cast<void>(state);
  return true;
#else
  // AMX_BF16, AMX_TILE, AMX_INT8: all processors that have one have all.
  constexpr uint32_t kAmxBf16AndTile = 1u << 22 | 1u << 24 | 1u << 25;
  constexpr uint64_t kTileState = 0x60000;  // configuration and data
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & kAmxBf16AndTile) != kAmxBf16AndTile) return false;
  return (state & kTileState) == kTileState && may_use_tiles();
#endif
}

Isa detect() {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return Isa::kScalar;
  const uint32_t needed = bit_FMA | bit_F16C | bit_AVX | bit_OSXSAVE;
  if ((ecx & needed) != needed) return Isa::kScalar;
  const uint64_t state = saved_register_state();
  constexpr uint64_t kYmmState = 0x6;   // SSE and AVX halves
  constexpr uint64_t kZmmState = 0xe6;  // the above, mask registers, both parts of the ZMM file
  if ((state & kYmmState) != kYmmState) return Isa::kScalar;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (ebx & bit_AVX2) == 0) return Isa::kScalar;
  const uint32_t avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
  if ((ebx & avx512) != avx512 || (state & kZmmState) != kZmmState) return Isa::kAvx2;
  if (!has_avx512_fp16()) return Isa::kAvx512;
  return has_amx(state) ? Isa::kAmx : Isa::kAvx512Fp16;
}

// An unknown name in HUSSAR_ISA asks for nothing.
Isa choose() {
  const Isa best = detected_isa();
  const char* wish = std::getenv("HUSSAR_ISA");
  if (wish == nullptr) return best;
  for (Isa isa : kAllIsas) {
    if (std::strcmp(wish, isa_name(isa)) == 0) return isa < best ? isa : best;
  }
  return best;
}

}  // namespace

Isa detected_isa() {
  static const Isa isa = detect();
  return isa;
}

bool has_avx512_vnni() {
  static const bool has = detected_isa() >= Isa::kAvx512 && detect_avx512_vnni();
  return has;
}

bool has_avx512_bf16() {
  static const bool has = detected_isa() >= Isa::kAvx512 && detect_avx512_bf16();
  return has;
}

Isa active_isa() {
  static const Isa isa = choose();
  return isa;
}

Isa usable_isa(int wanted) {
  const int active = static_cast<int>(active_isa());
  return static_cast<Isa>(wanted >= 0 && wanted < active ? wanted : active);
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAmx: return "amx";
    case Isa::kAvx512Fp16: return "avx512fp16";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx2: return "avx2";
    default: return "scalar";
  }
}

}  // namespace hussar::cpu
