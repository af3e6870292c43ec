// Expected gains.
#include "compile/measuring_order.h"

#include <algorithm>
#include <cmath>

namespace hussar {
namespace {

// How far predictions are off, as the standard deviation of the logarithm: between tiles of one kernel for the same
// work, and between kernels of which this one was measured for other work, or nowhere.
constexpr double kTileSpread = 0.15, kKernelSpread = 0.3, kUnknownSpread = 0.45;
// By less than that nobody wins (tactics/choose.cpp).
constexpr double kClearWin = 0.98, kClearTile = 0.97;
// A gain below this part of the time of all contests is not worth a measurement.
constexpr double kNegligible = 1e-4;
// With the best of a contest those are measured that may gain at least this part of what it may.
constexpr double kAlmostAsGood = 0.4;
constexpr size_t kMostTogether = 3;

double normal(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

// The mean of max(0, bar - time), where the logarithm of the time is distributed normally around that of `estimate`.
double mean_below(double bar, double estimate, double spread) {
  const double d = std::log(bar / estimate) / spread;
  return bar * normal(d) - estimate * std::exp(spread * spread / 2) * normal(d - spread);
}

bool is_open(const Contender& contender) { return !contender.measured && !contender.is_impossible; }

// The mean logarithm of measured by predicted time of those of `contenders` for which `counts` holds.
template <class Counts>
std::optional<double> mean_error(const std::vector<Contender>& contenders, Counts counts) {
  double sum = 0;
  int number = 0;
  for (const Contender& contender : contenders) {
    if (!contender.measured || contender.predicted <= 0 || !counts(contender)) continue;
    sum += std::log(*contender.measured / contender.predicted);
    ++number;
  }
  return number == 0 ? std::nullopt : std::optional(sum / number);
}

double weight_of(const WorkContest& contest) {
  const auto best = contest.best();
  return contest.count * (best ? *contest.contenders[*best].measured : contest.contenders[contest.first].predicted);
}

}  // namespace

std::optional<size_t> WorkContest::best() const {
  std::optional<size_t> found;
  for (size_t i = 0; i < contenders.size(); ++i) {
    const auto& time = contenders[i].measured;
    if (time && (!found || *time < *contenders[*found].measured)) found = i;
  }
  return found;
}

MeasuringOrder::MeasuringOrder(std::vector<WorkContest> contests, bool everything)
    : contests_(std::move(contests)), everything_(everything) {}

void MeasuringOrder::record(size_t contest, size_t contender, double microseconds) {
  contests_[contest].contenders[contender].measured = microseconds;
  usual_errors_.clear();
}

void MeasuringOrder::rule_out(size_t contest, size_t contender) {
  contests_[contest].contenders[contender].is_impossible = true;
}

// What has not been measured at all is nothing to go by: the predicted winner, with 2:4 weights the best dense one,
// too.
MeasuringOrder::Visit MeasuringOrder::first_visit(const WorkContest& contest, size_t index) const {
  Visit visit{index, {contest.first}, 0};
  const auto& all = contest.contenders;
  if (everything_) {
    visit.contenders.clear();
    for (size_t i = 0; i < all.size(); ++i) {
      if (is_open(all[i])) visit.contenders.push_back(i);
    }
    return visit;
  }
  if (!all[contest.first].two_of_four) return visit;
  std::optional<size_t> dense;
  for (size_t i = 0; i < all.size(); ++i) {
    if (!is_open(all[i]) || !all[i].is_usual || all[i].two_of_four) continue;
    if (!dense || all[i].predicted < all[*dense].predicted) dense = i;
  }
  if (dense) visit.contenders.push_back(*dense);
  return visit;
}

std::optional<double> MeasuringOrder::usual_error(int kernel) const {
  const auto [it, is_new] = usual_errors_.try_emplace(kernel);
  if (!is_new) return it->second;
  double sum = 0;
  int number = 0;
  for (const WorkContest& contest : contests_) {
    const auto error = mean_error(contest.contenders,
                                  [&](const Contender& other) { return other.kernel == kernel && other.is_usual; });
    if (!error) continue;
    sum += *error;
    ++number;
  }
  if (number > 0) it->second = sum / number;
  return it->second;
}

double MeasuringOrder::expected_gain(const WorkContest& contest, const Contender& contender, double best) const {
  const auto& all = contest.contenders;
  const auto own = mean_error(all, [&](const Contender& other) { return other.kernel == contender.kernel; });
  // A configuration counts against its kernel's usual way only.
  if (!contender.is_usual && !own) return 0;
  const auto elsewhere = own ? own : usual_error(contender.kernel);
  const double error = elsewhere ? *elsewhere : mean_error(all, [](const Contender&) { return true; }).value_or(0);
  const double spread = own ? kTileSpread : elsewhere ? kKernelSpread : kUnknownSpread;
  const double bar = best * (contender.is_usual ? kClearWin : kClearTile);
  if (bar <= contest.least) return 0;
  const double estimate = std::max(contender.predicted * std::exp(error), contest.least);
  return contest.count * std::min(mean_below(bar, estimate, spread), bar - contest.least);
}

MeasuringOrder::Visit MeasuringOrder::refinement(const WorkContest& contest, size_t index, double worthwhile) const {
  const size_t best = *contest.best();
  const double best_time = *contest.contenders[best].measured;
  std::vector<std::pair<double, size_t>> gains;
  for (size_t i = 0; i < contest.contenders.size(); ++i) {
    if (!is_open(contest.contenders[i])) continue;
    const double gain = expected_gain(contest, contest.contenders[i], best_time);
    if (gain > worthwhile || everything_) gains.emplace_back(gain, i);
  }
  std::stable_sort(gains.begin(), gains.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  Visit visit{index, {best}, gains.empty() ? 0 : gains.front().first};
  for (const auto& [gain, i] : gains) {
    if (!everything_ && (gain < kAlmostAsGood * visit.gain || visit.contenders.size() > kMostTogether)) break;
    visit.contenders.push_back(i);
  }
  return visit;
}

std::vector<MeasuringOrder::Visit> MeasuringOrder::visits() const {
  double all = 0;
  for (const WorkContest& contest : contests_) all += weight_of(contest);
  std::vector<Visit> unseen, seen;
  for (size_t i = 0; i < contests_.size(); ++i) {
    const WorkContest& contest = contests_[i];
    // What is not taken by the device leaves the work to the best of the others.
    const bool is_new = is_open(contest.contenders[contest.first]) || !contest.best();
    Visit visit = is_new ? first_visit(contest, i) : refinement(contest, i, kNegligible * all);
    if (is_new && !is_open(contest.contenders[contest.first])) {
      visit.contenders.clear();
      for (size_t k = 0; k < contest.contenders.size(); ++k) {
        if (is_open(contest.contenders[k]) && contest.contenders[k].is_usual) visit.contenders.push_back(k);
      }
      if (visit.contenders.empty()) continue;
    }
    if (!is_new && visit.contenders.size() < 2) continue;
    if (!is_new) visit.part = visit.gain / all;
    (is_new ? unseen : seen).push_back(std::move(visit));
  }
  auto is_heavier = [&](const Visit& a, const Visit& b) {
    return weight_of(contests_[a.contest]) > weight_of(contests_[b.contest]);
  };
  std::stable_sort(unseen.begin(), unseen.end(), is_heavier);
  std::stable_sort(seen.begin(), seen.end(), [](const Visit& a, const Visit& b) { return a.gain > b.gain; });
  unseen.insert(unseen.end(), std::make_move_iterator(seen.begin()), std::make_move_iterator(seen.end()));
  return unseen;
}

}  // namespace hussar
