// tune_device: measures the rivals of a device's steps, each piece of work by itself.
//
// A rival's kernel is recorded a few times in a row, with the weights of several steps that have the same problem, so
// that they come from memory as they do in the model, and the recordings of all rivals are replayed in turn. Equal
// problems are one; the longest come first, until the time is used up.
#pragma once
#include "compile/tune.h"

namespace hussar {

// As tune(), for a target that is a device. Where the device is not here nothing is measured, and the report says so.
Result<TuneReport> tune_device(const Graph& graph, const Target& target, const TuneOptions& options,
                               TimingCache& cache);

}  // namespace hussar
