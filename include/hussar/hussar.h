/* The C interface of Hussar: compile an ONNX model, load a plan, run it.
 *
 * Every function that can fail returns a hussar_code; hussar_last_error() then holds the message for the calling
 * thread until its next failing call. Handles are opaque; destroy each one exactly once (null is allowed).
 * A plan may be shared by any number of sessions in any threads. A session serves one thread at a time.
 */
#ifndef HUSSAR_HUSSAR_H_
#define HUSSAR_HUSSAR_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define HUSSAR_API __attribute__((visibility("default")))
#else
#define HUSSAR_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The values equal the exit codes of the `hussar` program. */
typedef enum hussar_code {
  HUSSAR_OK = 0,
  HUSSAR_RUN_FAILED = 1,
  HUSSAR_USAGE = 2,
  HUSSAR_INVALID_MODEL = 3,
  HUSSAR_ACCURACY = 4,
  HUSSAR_DEVICE_UNAVAILABLE = 6,
  HUSSAR_PLAN_INCOMPATIBLE = 7
} hussar_code;

typedef struct hussar_plan hussar_plan;
typedef struct hussar_session hussar_session;

/* The values are those of ONNX's TensorProto.DataType. */
typedef int32_t hussar_dtype;

/* Where a tensor lies. */
typedef enum hussar_place {
  HUSSAR_HOST = 0,
  HUSSAR_DEVICE = 1 /* in the memory of the session's GPU; hussar/session.h has the rules */
} hussar_place;

/* A tensor as the caller holds it: dense, row-major, dims[0..rank) outermost first. */
typedef struct hussar_tensor {
  const char* name;
  hussar_dtype dtype;
  int32_t rank;
  const int64_t* dims;
  void* data;
  size_t bytes;
  hussar_place place;
} hussar_tensor;

/* "0.1.0" */
HUSSAR_API const char* hussar_version(void);
/* The message of the calling thread's latest failure; "" when there was none. Never null. */
HUSSAR_API const char* hussar_last_error(void);

/* Compiles the ONNX file at model_path to a plan file at plan_path (written to a temporary name, then renamed).
 * options_json: null, or a JSON object with any of {"shapes": "x:1x3x224x224,y:1x5", "threads": 2,
 * "target": "cpu:avx2", "packed": false, "token_part": 0.5, "fp16": true, "bf16": false, "tf32": false,
 * "fp32_nodes": ["head"], "disable_passes": ["fuse_pointwise"],
 * "int8": {"calibration_file": "c.json", "method": "auto", "dynamic": false, "strict": false, "fp8": false},
 * "budget": "10s",
 * "timing_cache": "timings.txt", "libraries": "off", "self_check": "quick", "tolerance": 0.001}; hussar/compile.h
 * explains them. Of the object "int8" "calibration" may be the text of the calibration instead of a file. */
HUSSAR_API hussar_code hussar_build(const char* model_path, const char* plan_path, const char* options_json);

/* Maps a plan file into memory and validates it. */
HUSSAR_API hussar_code hussar_plan_load(const char* plan_path, hussar_plan** plan);
HUSSAR_API void hussar_plan_destroy(hussar_plan* plan);
HUSSAR_API size_t hussar_plan_input_count(const hussar_plan* plan);
HUSSAR_API size_t hussar_plan_output_count(const hussar_plan* plan);
/* Null when the index is out of range. The string lives as long as the plan. */
HUSSAR_API const char* hussar_plan_input_name(const hussar_plan* plan, size_t index);
HUSSAR_API const char* hussar_plan_output_name(const hussar_plan* plan, size_t index);

/* threads: 0 = as the plan was built for. */
HUSSAR_API hussar_code hussar_session_create(const hussar_plan* plan, int32_t threads, hussar_session** session);
HUSSAR_API void hussar_session_destroy(hussar_session* session);
/* The same on one of several GPUs, as the driver counts them. */
HUSSAR_API hussar_code hussar_session_create_on_device(const hussar_plan* plan, int32_t threads, int32_t device,
                                                       hussar_session** session);

/* Runs once. inputs: every plan input, in any order, matched by name. On return outputs[i] (i < output_count, in plan
 * order) describes the i-th output; its name, dims and data belong to the session and stay valid until its next run. */
HUSSAR_API hussar_code hussar_session_run(hussar_session* session, const hussar_tensor* inputs, size_t input_count,
                                          hussar_tensor* outputs, size_t output_count);

/* The same with outputs where the caller wants them: outputs[i].place, outputs[i].data (null: memory of the session)
 * and outputs[i].bytes (how many there are at data) are read; on return each describes what is there now. */
HUSSAR_API hussar_code hussar_session_run_into(hussar_session* session, const hussar_tensor* inputs, size_t input_count,
                                               hussar_tensor* outputs, size_t output_count);

/* hussar_session_run_into as a piece of work of a stream of the session's GPU (a CUstream or cudaStream_t; null: the
 * default one): after what the stream was given before, and before what it is given later. Returns once the work is
 * enqueued; hussar/session.h says when it has to wait. */
HUSSAR_API hussar_code hussar_session_enqueue(hussar_session* session, const hussar_tensor* inputs, size_t input_count,
                                              hussar_tensor* outputs, size_t output_count, void* stream);

/* Pinned memory of the host, zeros, which a GPU copies at the speed of the bus; of a plan for the CPU, any memory. It
 * may outlive the session, and is given back by hussar_pinned_free. */
typedef struct hussar_pinned hussar_pinned;
HUSSAR_API hussar_code hussar_pinned_allocate(hussar_session* session, size_t bytes, hussar_pinned** memory);
HUSSAR_API void* hussar_pinned_data(const hussar_pinned* memory);
HUSSAR_API void hussar_pinned_free(hussar_pinned* memory);

#ifdef __cplusplus
}
#endif
#endif /* HUSSAR_HUSSAR_H_ */
