/* consumer_c MODEL.onnx PLAN PRODUCT.onnx CACHE: builds (PRODUCT in INT8 with the calibration CACHE), loads, runs, and
 * provokes errors through the C interface. */
#include <hussar/hussar.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;

static void expect(int condition, const char* what) {
  if (condition) return;
  printf("failed: %s (%s)\n", what, hussar_last_error());
  ++failures;
}

static void check_run(hussar_session* session) {
  float x[8] = {-1, 2, 0, 0.5F, 3, 3, 3, 3};
  int64_t dims[2] = {2, 4};
  hussar_tensor input = {"x", 1, 2, dims, x, sizeof(x), HUSSAR_HOST};
  hussar_tensor output;
  memset(&output, 0, sizeof(output));
  expect(hussar_session_run(session, &input, 1, &output, 1) == HUSSAR_OK, "run");
  if (failures != 0) return;
  expect(strcmp(output.name, "y") == 0 && output.dtype == 1 && output.rank == 2 && output.dims[0] == 2 &&
             output.dims[1] == 4 && output.bytes == sizeof(x),
         "the facts about y");
  const float* y = (const float*)output.data;
  for (int row = 0; row < 2; ++row) {
    float sum = y[row * 4] + y[row * 4 + 1] + y[row * 4 + 2] + y[row * 4 + 3];
    expect(sum > 0.9999F && sum < 1.0001F, "a row of y sums to 1");
  }
}

/* Outputs in memory of the caller, which may be pinned where there is a GPU. */
static void check_places(hussar_session* session) {
  float x[4] = {1, 1, 1, 1};
  int64_t dims[2] = {1, 4};
  hussar_tensor input = {"x", 1, 2, dims, x, sizeof(x), HUSSAR_HOST};
  hussar_pinned* memory = NULL;
  expect(hussar_pinned_allocate(session, sizeof(x), &memory) == HUSSAR_OK, "pinned memory");
  if (memory == NULL) return;
  float* y = (float*)hussar_pinned_data(memory);
  hussar_tensor output = {NULL, 0, 0, NULL, y, sizeof(x), HUSSAR_HOST};
  expect(y[0] == 0 && hussar_session_run_into(session, &input, 1, &output, 1) == HUSSAR_OK, "run_into");
  expect(output.data == y && output.bytes == sizeof(x) && y[0] > 0, "y is where it was to go");
  output.bytes = 15;
  expect(hussar_session_run_into(session, &input, 1, &output, 1) == HUSSAR_USAGE, "too little room is refused");
  expect(hussar_session_enqueue(session, &input, 1, &output, 1, NULL) == HUSSAR_USAGE, "a CPU has no stream");
  input.place = HUSSAR_DEVICE;
  expect(hussar_session_run(session, &input, 1, &output, 1) == HUSSAR_USAGE, "a CPU has no memory of a GPU");
  expect(strstr(hussar_last_error(), "built for the CPU") != NULL, "the message says so");
  hussar_pinned_free(memory);
}

static void check_errors(hussar_session* session) {
  float x[4] = {0};
  int64_t dims[2] = {1, 4};
  hussar_tensor input = {"x", 1, 2, dims, x, 15, HUSSAR_HOST};
  hussar_tensor output;
  expect(hussar_session_run(session, &input, 1, &output, 1) == HUSSAR_USAGE, "a wrong byte count is refused");
  expect(strstr(hussar_last_error(), "'x'") != NULL, "the message names the input");
  input.bytes = 16;
  input.dtype = 7;
  expect(hussar_session_run(session, &input, 1, &output, 1) == HUSSAR_USAGE, "a wrong dtype is refused");
  expect(hussar_session_run(session, NULL, 0, &output, 1) == HUSSAR_USAGE, "a missing input is refused");
  expect(hussar_session_run(NULL, NULL, 0, NULL, 0) == HUSSAR_USAGE, "a null handle is refused");
  hussar_plan* plan = NULL;
  expect(hussar_plan_load("no/such.plan", &plan) == HUSSAR_RUN_FAILED && plan == NULL, "a missing plan is an error");
}

static float first_output(const char* plan_path) {
  float x[4] = {0, 0.73F, 1.46F, 2.19F};
  int64_t dims[2] = {1, 4};
  hussar_tensor input = {"x", 1, 2, dims, x, sizeof(x)};
  hussar_tensor output;
  hussar_plan* plan = NULL;
  hussar_session* session = NULL;
  float result = 0;
  expect(hussar_plan_load(plan_path, &plan) == HUSSAR_OK, "load");
  expect(hussar_session_create(plan, 0, &session) == HUSSAR_OK, "session");
  const int ran = hussar_session_run(session, &input, 1, &output, 1) == HUSSAR_OK;
  expect(ran, "run");
  if (ran) result = ((const float*)output.data)[0];
  hussar_session_destroy(session);
  hussar_plan_destroy(plan);
  return result;
}

static void check_int8(const char* model, const char* plan, const char* cache) {
  char options[4096];
  expect(hussar_build(model, plan, "{\"budget\": \"0\"}") == HUSSAR_OK, "build in FP32");
  const float exact = first_output(plan);
  snprintf(options, sizeof(options),
           "{\"budget\": \"0\", \"int8\": {\"calibration_file\": \"%s\", \"method\": \"minmax\", \"strict\": true}}",
           cache);
  expect(hussar_build(model, plan, options) == HUSSAR_OK, "build in INT8");
  const float rounded = first_output(plan);
  expect(exact != rounded && fabsf(exact - rounded) < 0.05F, "INT8 is close, and not the same");
  expect(hussar_build(model, plan, "{\"budget\": \"0\", \"int8\": {\"dynamic\": true, \"strict\": true}}") == HUSSAR_OK,
         "build in INT8 without a calibration");
  const float found = first_output(plan);
  expect(exact != found && fabsf(exact - found) < 0.05F, "its ranges follow the input");
  expect(hussar_build(model, plan, "{\"int8\": {}}") == HUSSAR_USAGE, "INT8 without ranges is refused");
  expect(hussar_build(model, plan, "{\"int8\": true}") == HUSSAR_USAGE, "int8 is an object");
  expect(hussar_build(model, plan, "{\"int8\": {\"strict\": 1}}") == HUSSAR_USAGE, "strict is a boolean");
  expect(hussar_build(model, plan, "{\"int8\": {\"ranges\": \"\"}}") == HUSSAR_USAGE, "int8 has no such member");
  expect(hussar_build(model, plan, "{\"int8\": {\"fp8\": true}}") == HUSSAR_USAGE &&
             strstr(hussar_last_error(), "FP8 is for GPUs") != NULL,
         "FP8 is not for CPUs");
  const char* unknown =
      "{\"budget\": \"0\", \"int8\": {\"calibration\": \"TRT-8601-EntropyCalibration2\\ny: 3c010204\\n\", \"strict\": "
      "true}}";
  expect(hussar_build(model, plan, unknown) == HUSSAR_ACCURACY, "strict refuses what stays in floats");
  expect(strstr(hussar_last_error(), "head (MatMul): nothing is known") != NULL, "and names it");
}

int main(int count, char** words) {
  if (count != 5) return 2;
  expect(strlen(hussar_version()) > 0, "version");
  expect(hussar_build(words[1], words[2], "{\"threads\": 1, \"target\": \"cpu\", \"libraries\": \"on\"}") == HUSSAR_OK,
         "build");
  expect(hussar_build(words[1], words[2], "{\"libraries\": \"maybe\"}") == HUSSAR_USAGE,
         "libraries are off, on or only");
  expect(hussar_build(words[1], words[2], "{\"libraries\": true}") == HUSSAR_USAGE, "libraries is a string");
  expect(hussar_build(words[1], words[2], "{\"bf16\": 1}") == HUSSAR_USAGE, "bf16 is a boolean");
  expect(hussar_build(words[1], words[2], "{\"bf16\": true}") == HUSSAR_OK, "BF16, where the processor has it");
  expect(hussar_build(words[1], words[2], "{\"bf16\": true, \"fp16\": true}") == HUSSAR_USAGE &&
             strstr(hussar_last_error(), "exclude each other") != NULL,
         "FP16 and BF16 exclude each other");
  expect(hussar_build(words[1], words[2], "{\"speed\": 9}") == HUSSAR_USAGE, "an unknown option is refused");
  expect(hussar_build(words[1], words[2], "[") == HUSSAR_USAGE, "malformed JSON is refused");
  hussar_plan* plan = NULL;
  hussar_session* session = NULL;
  expect(hussar_plan_load(words[2], &plan) == HUSSAR_OK, "load");
  expect(hussar_plan_input_count(plan) == 1 && hussar_plan_output_count(plan) == 1, "counts");
  expect(hussar_plan_input_name(plan, 0) != NULL && hussar_plan_input_name(plan, 1) == NULL, "names");
  expect(hussar_session_create(plan, 0, &session) == HUSSAR_OK, "session");
  if (failures == 0) {
    check_run(session);
    check_places(session);
    check_errors(session);
    check_run(session);
  }
  check_int8(words[3], words[2], words[4]);
  hussar_session_destroy(session);
  hussar_plan_destroy(plan);
  hussar_plan_destroy(NULL);
  return failures == 0 ? 0 : 1;
}
