"""How far a result is from the reference: the two figures that tests, demo and benchmark report."""

from __future__ import annotations

import numpy as np

TOLERANCE = 1e-3


def relative_error(reference: np.ndarray, result: np.ndarray) -> float:
    """max |result - reference| over the reference's range (max - min; of a constant tensor its magnitude)."""
    if reference.shape != result.shape or reference.dtype != result.dtype:
        return float("inf")
    if reference.size == 0:
        return 0.0
    wide_reference, wide_result = reference.astype(np.float64), result.astype(np.float64)
    if not np.array_equal(np.isfinite(wide_reference), np.isfinite(wide_result)):
        return float("inf")
    finite = np.isfinite(wide_reference)
    if not finite.any():
        return 0.0
    wide_reference, wide_result = wide_reference[finite], wide_result[finite]
    extent = wide_reference.max() - wide_reference.min() or abs(wide_reference).max() or 1.0
    return float(abs(wide_result - wide_reference).max() / extent)


def argmax_flips(reference: np.ndarray, result: np.ndarray, classes: dict | None) -> tuple[int, int, int]:
    """(decisions, flips, flips that are no tie).

    A decision is one argmax: along classes["axis"] from index classes["from"] on, or over the whole tensor when
    classes is None. With classes["threshold"] every element is a decision, above it or not. A flip is a tie when the
    reference rates both choices within TOLERANCE of the tensor's range.
    """
    if reference.shape != result.shape or reference.size == 0:
        return 0, 0, 0
    extent = float(reference.max()) - float(reference.min())
    if classes is not None and "threshold" in classes:
        flips = (reference > classes["threshold"]) != (result > classes["threshold"])
        clear = abs(reference - classes["threshold"]) > TOLERANCE * extent
        return reference.size, int(flips.sum()), int((flips & clear).sum())
    if classes is None:
        reference, result = reference.reshape(1, -1), result.reshape(1, -1)
    else:
        first = classes.get("from", 0)
        reference = np.moveaxis(reference, classes["axis"], -1)[..., first:]
        result = np.moveaxis(result, classes["axis"], -1)[..., first:]
        reference = reference.reshape(-1, reference.shape[-1])
        result = result.reshape(-1, result.shape[-1])
    wanted, got = reference.argmax(-1), result.argmax(-1)
    rows = np.arange(len(wanted))
    loss = reference[rows, wanted].astype(np.float64) - reference[rows, got]
    flips = wanted != got
    return len(wanted), int(flips.sum()), int((flips & (loss > TOLERANCE * extent)).sum())


def compare(references: list[np.ndarray], results: list[np.ndarray], classes: dict) -> dict:
    """The worst figures over all outputs. classes: str(output index) -> spec, as in row.json."""
    report = {"max_absolute": 0.0, "max_relative": 0.0, "decisions": 0, "flips": 0, "flips_no_tie": 0}
    if len(references) != len(results):
        return {**report, "max_absolute": float("inf"), "max_relative": float("inf")}
    for index, (reference, result) in enumerate(zip(references, results)):
        report["max_relative"] = max(report["max_relative"], relative_error(reference, result))
        if reference.shape == result.shape and reference.size:
            difference = abs(result.astype(np.float64) - reference.astype(np.float64)).max()
            report["max_absolute"] = max(report["max_absolute"], float(difference))
        counts = argmax_flips(reference, result, classes.get(str(index)))
        for key, count in zip(("decisions", "flips", "flips_no_tie"), counts):
            report[key] += count
    return report


def acceptable(report: dict) -> bool:
    return report["max_relative"] <= TOLERANCE and report["flips_no_tie"] == 0
