// tune_device: measures the rivals of a device's steps, each piece of work by itself.
//
// A rival's kernel is recorded a few times in a row, with weights at several places, so that they come from memory as
// they do in the model, and the recordings of rivals are replayed in turn. Equal problems are one. What is measured
// first, and what at all, MeasuringOrder says; code is compiled meanwhile, in the order in which it will be needed.
#pragma once
#include "compile/tune.h"

namespace hussar {

// As tune(), for a target that is a device. Where the device is not here nothing is measured, and the report says so.
// TuneOptions::all: every rival is measured, whatever may be expected of it.
Result<TuneReport> tune_device(std::span<const Graph* const> graphs, const Target& target, const TuneOptions& options,
                               TimingCache& cache);

}  // namespace hussar
