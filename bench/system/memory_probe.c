/* What a model costs in memory, without Python in the way: a program that does nothing but run a plan through the C
 * interface.
 *
 *   memory_probe PLAN THREADS RUNS [NAME DTYPE DIMS FILE]...      DTYPE: as in ONNX; DIMS: 1x3x224x224; FILE: raw bytes
 *
 * Prints one line of JSON when the runs are done: what the program takes by itself (the touched code of the
 * program and its libraries, and the inputs), the peak, and what /proc says of the plan's mapping and of the whole
 * process. Then it waits for the end of its standard input, so that several can be looked at while they live together;
 * a line on the standard input makes it print again.
 */
#include <hussar/hussar.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kMostInputs = 16, kMostOutputs = 64, kMostDims = 12 };

static void fail(const char* what, const char* why) {
  fprintf(stderr, "memory_probe: %s: %s\n", what, why);
  exit(1);
}

static void check(hussar_code code, const char* what) {
  if (code != HUSSAR_OK) fail(what, hussar_last_error());
}

/* The sum of a field of /proc/self/FILE in bytes; of the mappings whose name ends in `mapping` only, unless null. */
static long long proc_bytes(const char* file, const char* field, const char* mapping) {
  char path[64], line[4096];
  long long sum = 0, value = 0;
  int counts = mapping == NULL;
  snprintf(path, sizeof path, "/proc/self/%s", file);
  FILE* stream = fopen(path, "r");
  if (stream == NULL) fail(path, "cannot be read");
  while (fgets(line, sizeof line, stream) != NULL) {
    line[strcspn(line, "\n")] = 0;
    size_t length = strlen(line), suffix = mapping != NULL ? strlen(mapping) : 0;
    /* The first line of a mapping begins with its addresses, in lower case hexadecimal. */
    int is_head = strchr("0123456789abcdef", line[0]) != NULL;
    if (mapping != NULL && is_head) counts = length >= suffix && strcmp(line + length - suffix, mapping) == 0;
    size_t name = strlen(field);
    if (counts && strncmp(line, field, name) == 0 && sscanf(line + name, ": %lld kB", &value) == 1) sum += value * 1024;
  }
  fclose(stream);
  return sum;
}

static void read_input(char** words, hussar_tensor* tensor) {
  int64_t* dims = calloc(kMostDims, sizeof *dims);
  tensor->name = words[0];
  tensor->dtype = (hussar_dtype)atoi(words[1]);
  for (char* word = words[2]; *word != 0 && tensor->rank < kMostDims;) {
    dims[tensor->rank++] = strtoll(word, &word, 10);
    if (*word == 'x') ++word;
  }
  tensor->dims = dims;
  FILE* stream = fopen(words[3], "rb");
  if (stream == NULL) fail(words[3], "cannot be read");
  fseek(stream, 0, SEEK_END);
  tensor->bytes = (size_t)ftell(stream);
  rewind(stream);
  tensor->data = aligned_alloc(64, (tensor->bytes + 63) / 64 * 64 + 64);
  if (fread(tensor->data, 1, tensor->bytes, stream) != tensor->bytes) fail(words[3], "cannot be read");
  fclose(stream);
}

/* base: anonymous memory before the plan was opened. */
static void report(const char* plan, double load_ms, long long base) {
  long long resident = proc_bytes("smaps_rollup", "Rss", NULL);
  long long anonymous = proc_bytes("smaps_rollup", "Anonymous", NULL);
  long long weights = proc_bytes("smaps", "Rss", plan);
  printf("{\"load_ms\": %.4f, \"program_bytes\": %lld, \"peak_bytes\": %lld, \"plan_resident_bytes\": %lld, ", load_ms,
         base + resident - anonymous - weights, proc_bytes("status", "VmHWM", NULL), weights);
  printf("\"pss_bytes\": %lld, \"plan_pss_bytes\": %lld}\n", proc_bytes("smaps_rollup", "Pss", NULL),
         proc_bytes("smaps", "Pss", plan));
  fflush(stdout);
}

int main(int argument_count, char** arguments) {
  if (argument_count < 4) fail("usage", "memory_probe PLAN THREADS RUNS [NAME DTYPE DIMS FILE]...");
  hussar_tensor inputs[kMostInputs] = {{0}}, outputs[kMostOutputs];
  size_t input_count = 0;
  for (int i = 4; i + 3 < argument_count && input_count < kMostInputs; i += 4) {
    read_input(arguments + i, &inputs[input_count++]);
  }
  /* The first call of printf and of the clock pull in pages of their own. */
  struct timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  fprintf(stderr, "%s", "");
  long long base = proc_bytes("smaps_rollup", "Anonymous", NULL);
  hussar_plan* plan = NULL;
  hussar_session* session = NULL;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  check(hussar_plan_load(arguments[1], &plan), "load");
  check(hussar_session_create(plan, atoi(arguments[2]), &session), "session");
  clock_gettime(CLOCK_MONOTONIC, &end);
  double load_ms = 1e3 * (double)(end.tv_sec - begin.tv_sec) + 1e-6 * (double)(end.tv_nsec - begin.tv_nsec);
  size_t output_count = hussar_plan_output_count(plan);
  for (int run = 0; run < atoi(arguments[3]); ++run) {
    check(hussar_session_run(session, inputs, input_count, outputs, output_count), "run");
  }
  report(arguments[1], load_ms, base);
  char line[64];
  while (fgets(line, sizeof line, stdin) != NULL) report(arguments[1], load_ms, base);
  hussar_session_destroy(session);
  hussar_plan_destroy(plan);
  return 0;
}
