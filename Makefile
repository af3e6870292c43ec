# Thin entry points; CMakeLists.txt builds, the scripts in tools/ and tests/ do the rest. `make help` lists them.
BUILD ?= build
JOBS ?= $(shell nproc)
TARGET ?= cpu
FUZZ_SECONDS ?= 60
PYTHON := .venv/bin/python
CPP_FILES = $(shell git ls-files '*.cpp' '*.h')

.DEFAULT_GOAL := all
.PHONY: sanitize all help configure deps-build deps-test install-deps venv venv-export venv-test demo test quick \
        conformance fuzz bench bench-kernels bench-layers bench-system format check clean build-ahead program

all: configure ## build the hussar program and its libraries (Release) into build/
	@cmake --build $(BUILD) -j $(JOBS)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: configure ## Fashion-MNIST from FP32 to INT8 on labelled pictures; then PP-OCR beside ONNX Runtime
	@tools/install_deps.sh build demo
	@$(MAKE) --no-print-directory -j2 venv program
	@$(PYTHON) demo/classify.py
	@$(PYTHON) demo/ocr.py

test: deps-test ## run everything (from nothing 20 minutes on two cores)
	@$(MAKE) --no-print-directory -j2 venv-test build-ahead
	@$(PYTHON) tests/run_all.py --build $(BUILD) --jobs $(JOBS)

quick: deps-test venv ## the checks and the unit tests
	@$(PYTHON) tests/run_all.py --build $(BUILD) --jobs $(JOBS) --only checks,unit

sanitize: deps-test venv ## the tests of outside bytes, memory and threads under ASan, UBSan and TSan
	@$(PYTHON) tests/run_all.py --build $(BUILD) --jobs $(JOBS) --only "address and undefined behaviour,threads"

conformance: venv configure ## the backend tests of the onnx package [TARGET=cpu|reference|cpu:no_passes]
	@cmake --build $(BUILD) -j $(JOBS) --target conformance_runner
	@$(PYTHON) tests/conformance/run.py --runner $(BUILD)/bin/conformance_runner --target $(TARGET)

fuzz: ## libFuzzer on ONNX and plan bytes, FUZZ_SECONDS (60) each
	@tools/install_deps.sh build test fuzz
	@tests/fuzz/run.sh $(FUZZ_SECONDS) $(JOBS)

bench: venv-export configure ## latency beside ONNX Runtime and OpenVINO
	@cmake --build $(BUILD) -j $(JOBS)
	@$(PYTHON) bench/peers_cpu.py

bench-kernels: venv configure ## every kernel family: level by level, and its ladders
	@tools/install_deps.sh build bench
	@cmake -S . -B $(BUILD) -DHUSSAR_BUILD_BENCH=ON >/dev/null
	@cmake --build $(BUILD) -j $(JOBS) --target all ladders
	@$(PYTHON) bench/kernels_cpu.py

bench-system: venv configure ## threads, idleness and memory
	@cmake --build $(BUILD) -j $(JOBS) --target all region_probe memory_probe
	@$(PYTHON) bench/system_cpu.py
	@$(PYTHON) bench/system_memory.py

bench-layers: venv-export configure ## where the time of models goes, by kernels and layers
	@cmake --build $(BUILD) -j $(JOBS)
	@$(PYTHON) bench/where_time_goes.py

format: deps-test ## format the C++ files
	@clang-format-14 -i $(CPP_FILES)

check: deps-test ## formatting, include table, sizes, lone headers
	@python3 tools/check/run.py

install-deps: ## install every Debian package that any target needs
	@tools/install_deps.sh build test fuzz bench demo

clean: ## remove the build folders
	@rm -rf build build-*

configure: deps-build
	@[ -e $(BUILD)/build.ninja ] || cmake -G Ninja -S . -B $(BUILD) >/dev/null
# While Python packages are fetched; tests/run_all.py builds again and reports errors.
build-ahead: configure
	@cmake --build $(BUILD) -j $(JOBS) --target all tests >/dev/null 2>&1 || true
program: configure
	@cmake --build $(BUILD) -j $(JOBS) --target hussar_cli hussar_shared
deps-build:
	@tools/install_deps.sh build
deps-test:
	@tools/install_deps.sh build test
venv: deps-build
	@tools/venv.sh light
venv-export: deps-build
	@tools/venv.sh export
# Without PyTorch everything is tested but the models that are exported from it.
venv-test: deps-build
	@tools/venv.sh export || { echo "no PyTorch: tests of exported models are skipped" >&2; tools/venv.sh light; }
