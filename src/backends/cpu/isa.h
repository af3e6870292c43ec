// The instruction set levels that the CPU kernels are compiled for, and the dispatch between them.
//
// A file named *.simd.cpp is compiled once per level, with that level's compiler flags and with HUSSAR_ISA_NAMESPACE
// set to scalar, avx2 or avx512. It puts everything it defines into that namespace and exports one constant function
// table; the family's header declares it with HUSSAR_DECLARE_PER_ISA and callers pick the table with select().
// Such files include only isa.h, simd/*.h, their family's header, intrinsics and C headers: an inline function of the
// standard library that was compiled with AVX-512 could be the copy that the linker keeps for every CPU.
#pragma once

namespace hussar::cpu {

// Each level has all that the ones before it have.
// kAvx512Fp16: AVX-512 with AVX512_FP16. Only kernels/half has code for it (*.fp16.cpp, compiled once).
// kAmx: the above with AVX512_BF16, and AMX tiles with bf16 products (every processor with AMX has AVX512_FP16). Only
// kernels/amx has code for it (*.amx.cpp, compiled once). All other kernels run their AVX-512 code on both.
// kernels/int8 has code for AVX512_VNNI besides (*.vnni.cpp), kernels/bfloat for AVX512_BF16 (*.bf16.cpp).
// The numbers are internal: plans and the environment use the names.
enum class Isa : int { kScalar = 0, kAvx2 = 1, kAvx512 = 2, kAvx512Fp16 = 3, kAmx = 4 };
inline constexpr Isa kAllIsas[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Fp16, Isa::kAmx};

// The best level of this machine, or the lower one that the environment variable HUSSAR_ISA (scalar, avx2, avx512,
// avx512fp16, amx) asks for. Decided once per process.
Isa active_isa();
// What CPUID and the operating system allow, whatever HUSSAR_ISA says.
Isa detected_isa();
const char* isa_name(Isa isa);
// Whether the processor has AVX512_VNNI, which is no level of its own: most processors of the level avx512 have it.
bool has_avx512_vnni();
// The same of AVX512_BF16: Zen 4 has it, and Intel's processors with AMX.
bool has_avx512_bf16();
// The level to run for a plan that was built for `wanted` (Run::isa): that one, or the active one where that is less.
Isa usable_isa(int wanted);

}  // namespace hussar::cpu

// Declares `const Table name` in each level's namespace and `const Table& select_<name>(Isa)`. In the levels beyond
// avx512 the name means avx512's.
#define HUSSAR_DECLARE_PER_ISA(Table, name)                   \
  namespace scalar {                                          \
  extern const Table name;                                    \
  }                                                           \
  namespace avx2 {                                            \
  extern const Table name;                                    \
  }                                                           \
  namespace avx512 {                                          \
  extern const Table name;                                    \
  }                                                           \
  namespace avx512vnni {                                      \
  using avx512::name;                                         \
  }                                                           \
  namespace avx512bf16 {                                      \
  using avx512::name;                                         \
  }                                                           \
  namespace avx512fp16 {                                      \
  using avx512::name;                                         \
  }                                                           \
  namespace amx {                                             \
  using avx512::name;                                         \
  }                                                           \
  inline const Table& select_##name(::hussar::cpu::Isa isa) { \
    switch (isa) {                                            \
      case ::hussar::cpu::Isa::kAmx:                          \
      case ::hussar::cpu::Isa::kAvx512Fp16:                   \
      case ::hussar::cpu::Isa::kAvx512: return avx512::name;  \
      case ::hussar::cpu::Isa::kAvx2: return avx2::name;      \
      default: return scalar::name;                           \
    }                                                         \
  }
