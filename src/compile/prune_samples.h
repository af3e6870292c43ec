// The samples that a model is pruned on.
#pragma once
#include <string>
#include <vector>

#include "compile/prune_model.h"
#include "compile/prune_walk.h"

namespace hussar {

// Reads all data and keeps some of them (ModelPruneOptions::most_samples), one in eight held out. Fails where there are
// too few, or of different shapes.
Result<PruneData> read_prune_samples(const std::string& model_path, DataSource& data, const ModelPruneOptions& options,
                                     std::vector<std::string>& warnings);
// What all inputs of the model have: those of the samples.
NamedShapes shapes_of_samples(const PruneData& data, const std::vector<InputFacts>& inputs);
int64_t count_samples(const std::vector<DataRun>& runs);
// As many samples as may be walked.
void bound_samples(PruneData& data, double bytes_per_run, std::vector<std::string>& warnings);

// The inputs of the model, with the shapes that are given.
Result<std::vector<InputFacts>> prune_inputs(const std::string& model_path, const NamedShapes& shapes);

}  // namespace hussar
