# `make demo` and `make test` need nothing but Python 3.11 or 3.12 with venv and pip.
PYTHON ?= python3
SCALE ?= mini
WORKDIR ?= runs
BIN := .venv/bin

.PHONY: demo reproduce real base env test test-slow notebooks docs bench lint package clean

demo: env  ## Train Table 3's two models on the embedded corpus and print the table beside the paper's.
	$(BIN)/python -m experiments table3 --scale $(SCALE) --workdir $(WORKDIR)

reproduce: env  ## Every table and every claim on the embedded corpus, and runs/mini/report.html.
	$(BIN)/python -m experiments all --scale $(SCALE) --workdir $(WORKDIR)

REAL := $(foreach domain,libri_16k l2_16k an4_16k wakeword_16k prompts_8k digits_8k,$(domain)/train $(domain)/valid) common_voice_48k/valid
OF_REAL := $(REAL:%=$(WORKDIR)/speech/%/corpus.json) $(WORKDIR)/speech/noise $(WORKDIR)/speech/rir $(WORKDIR)/speech/speech.toml

SPEECH_OR_STOP = $(or $(SPEECH),$(error give SPEECH=DIR, a folder with manifest.jsonl, noise/ and rir/))

real: env $(OF_REAL)  ## The paper's questions put to the recordings of SPEECH=DIR: manifest.jsonl, noise/, rir/. For others, another WORKDIR.
	$(BIN)/python -m experiments matrix --corpora $(WORKDIR)/speech/speech.toml --scale small --set members=1 --workdir $(WORKDIR)

# The rows of SPEECH whose licences permit any use with attribution. AN4 and Common Voice are unheard: they only test.
BASE := $(foreach domain,libri_16k l2_16k wakeword_16k read_lj_22k,$(WORKDIR)/speech/$(domain)/train)
BASE_TESTS := $(foreach domain,libri_16k l2_16k wakeword_16k an4_16k common_voice_48k,$(WORKDIR)/speech/$(domain)/valid)
OF_BASE := $(patsubst %,%/corpus.json,$(BASE) $(BASE_TESTS)) $(WORKDIR)/speech/noise

base: env $(OF_BASE)  ## A model to start from, of the freely licensed speech of SPEECH=DIR, with its card: WORKDIR/base.
	$(BIN)/mdasr train $(BASE) --noise --codec --workers 2 --out $(WORKDIR)/base-training
	$(BIN)/mdasr evaluate $(WORKDIR)/base-training $(BASE_TESTS) --condition clean --condition noise:10 --condition 8khz --condition mp3:23 \
		--noises $(WORKDIR)/speech/noise --json $(WORKDIR)/base-training/result.json
	[ -e $(WORKDIR)/base/model.json ] || $(BIN)/mdasr release $(WORKDIR)/base-training --results $(WORKDIR)/base-training/result.json --out $(WORKDIR)/base

$(WORKDIR)/speech/%/corpus.json: | env
	$(BIN)/mdasr import manifest $(SPEECH_OR_STOP)/manifest.jsonl --where domain=$(*D) --where split=$(*F) --corpus $(*D) --out $(@D) || [ $$? = 3 ]  # lines were set aside, and said which

$(WORKDIR)/speech/noise $(WORKDIR)/speech/rir:
	mkdir -p $(@D) && ln -sfn $(abspath $(SPEECH_OR_STOP))/$(@F) $@

$(WORKDIR)/speech/speech.toml: experiments/speech.toml
	mkdir -p $(@D) && cp $< $@

env: .venv/done  ## Build .venv from nothing, with pip alone.

.venv/done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[test]'
	touch $@

test: lint  ## Lint, check types and layers, run every test that is not slow.
	$(BIN)/python -m pytest

test-slow: env  ## The checks that take minutes.
	$(BIN)/python -m pytest -m slow

notebooks: env  ## Execute the scripts of colabs/ into the notebooks beside them.
	$(BIN)/python docs/make_notebooks.py

docs: .venv-docs/done  ## The documentation as a site in site/, every link inside it checked.
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "site/index.html"

.venv-docs/done: pyproject.toml constraints.txt | env
	$(PYTHON) -m venv .venv-docs
	$(BIN)/uv pip install --quiet --python .venv-docs/bin/python --constraint constraints.txt mkdocs-material 'mkdocstrings[python]' ruff
	touch $@

bench: env .venv-bench/done  ## Speed beside that of peers, which get an environment of their own.
	.venv-bench/bin/python benchmarks/perturb.py --json $(WORKDIR)/bench_perturb.json
	.venv-bench/bin/python benchmarks/words.py --json $(WORKDIR)/bench_words.json
	.venv-bench/bin/python benchmarks/ngram.py --json $(WORKDIR)/bench_ngram.json
	.venv-bench/bin/python benchmarks/decode.py --json $(WORKDIR)/bench_decode.json

.venv-bench/done: pyproject.toml
	$(PYTHON) -m venv .venv-bench
	$(BIN)/uv pip install --quiet --python .venv-bench/bin/python --editable '.[codecs,rooms]' \
		audiomentations fast-mp3-augment imageio-ffmpeg jiwer kaldi-native-fbank librosa nltk pyroomacoustics rir-generator
	touch $@

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/deptry mdasr experiments  # every import is declared, and every dependency imported

package: env  ## Build a wheel and an sdist in dist/, and install the wheel in an empty environment.
	rm -rf build dist
	$(BIN)/uv build --quiet --out-dir dist
	$(BIN)/uv venv --quiet --python $(BIN)/python dist/venv
	$(BIN)/uv pip install --quiet --python dist/venv/bin/python --constraint constraints.txt dist/*.whl
	cd dist && venv/bin/mdasr --version

clean:  ## Remove the environments; what was trained stays in $(WORKDIR).
	rm -rf .venv .venv-bench .venv-docs build dist
