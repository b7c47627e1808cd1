"""The page of results: one HTML file with every table beside the paper's, the claims, pictures and models.

python -m experiments report --scale mini --workdir runs

The page needs no other file and no network.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

from experiments.charts import MOST_COLUMNS, Adaptation, Course, Point, draw_errors, draw_starts, draw_training
from experiments.markup import document, figure, grid, heads, section, tag
from experiments.models import IN_DOMAIN
from experiments.report_contents import NOT_JUDGED, Contents, TrainedModel
from mdasr.training.regimes import AS_PUBLISHED

VERDICTS = ("holds", "fails", "undecided", NOT_JUDGED)
BEYOND = {"open": "Open problems", "why": "Why claims fail", "matrix": "Matrix"}
IN_DOMAIN_HOURS = 700  # of the paper's Telephony (§4.4)


class TableEntry(NamedTuple):
    """A number of a table, beside the paper's where the paper has one."""

    row: str
    column: str
    value: str
    interval: str
    paper: str


def page(contents: Contents) -> str:
    """Return the whole page as HTML; the same contents give the same text."""
    sections = [
        section("about", "About this page", *_about(contents)),
        section("claims", "The paper's claims", *_claims(contents.claims)),
        *(
            section(name, _heading(name, table), *_table(name, table, contents))
            for name, table in contents.tables.items()
        ),
        section("training", "Training curves", *_training(contents.models)),
        section("models", "Models", *_models(contents.models)),
    ]
    title = f"Domain-invariant speech recognition: results at scale {contents.scale}"
    links = [tag("li", tag("a", section[0].text or "", href=f"#{section.get('id')}")) for section in sections]
    return document(title, tag("nav", tag("ul", *links), aria_label="Contents"), tag("main", *sections))


def _about(contents: Contents) -> Iterator[Element]:
    yield tag(
        "p",
        "This page shows a rebuild of Narayanan et al., “Toward domain-invariant speech recognition via large scale "
        "training” (2018). It sets the results of models that were trained here beside the paper's numbers, and says "
        "which of the paper's claims hold for them.",
    )
    tables = [table for table in contents.tables.values() if table]
    seeds = sorted({trained.seed for trained in contents.models})
    seconds = sum(trained.facts.get("seconds", 0.0) for trained in contents.models)
    done = sum(bool(trained.facts) for trained in contents.models)
    facts = {
        "Scale": contents.scale,
        "Evaluated on": f"the {contents.evaluated_on} sets",
        "Seeds": ", ".join(map(str, seeds)),
        "Commit of the tables": ", ".join(sorted({table["commit"] for table in tables if "commit" in table})),
        "Device of the tables": ", ".join(sorted({table["device"] for table in tables if "device" in table})),
        "Trained": f"{done} of {len(contents.models)} models, in {seconds:,.0f} s",
    }
    yield tag(
        "dl",
        *(part for name, text in facts.items() for part in (tag("dt", name), tag("dd", text or "nothing yet"))),
    )
    if missing := [_number(name) for name, table in contents.tables.items() if not table]:
        yield tag("p", f"Not made yet: {', '.join(missing)}.")
    hashes = {
        pair: None
        for trained in contents.models
        for pair in zip(trained.facts.get("domains", ()), trained.facts.get("data", ()))
    }
    if hashes:
        yield tag("h3", "Training data")
        yield grid(
            heads("Domain", "SHA-256"), [(name, tag("td", tag("code", sha), class_="text")) for name, sha in hashes]
        )


def _claims(claims: Sequence[Mapping[str, str]]) -> Iterator[Element]:
    counts = Counter(claim["verdict"] for claim in claims if "/" not in claim["id"])
    verdicts = ", ".join(f"{verdict} {counts[verdict]}" for verdict in VERDICTS)
    yield tag("p", f"Verdicts on the {counts.total()} claims: {verdicts}.")
    yield tag(
        "p",
        "Each claim compares word error rates in pairs. It holds if every comparison holds, and fails if one "
        "fails. It is undecided if the 95% intervals are too wide to tell.",
        class_="faint",
    )
    if counts.total() < len(claims):
        yield tag(
            "p",
            "Lines with a slash, such as T5.b/1, are hypotheses about why a claim does not hold. Each was tested by "
            "an ablation.",
        )
    for claim in claims:
        verdict = tag("span", claim["verdict"], class_=f"verdict {claim['verdict']}")
        seeds = f" (seeds {claim['seeds']})" if "," in claim.get("seeds", "") else ""
        judged = tag("p", tag("strong", claim["id"]), " ", verdict, " ", claim.get("claim", ""), seeds)
        why, evidence = (
            [tag("li", text) for text in claim.get(key, "").split("; ") if text] for key in ("why", "evidence")
        )
        by = "It fails because of:" if claim["verdict"] == "fails" else "It is undecided because of:"
        shown = [tag("p", by), tag("ul", *why)] if why else []
        shown += [tag("details", tag("summary", "Evidence"), tag("ul", *evidence))] if evidence else []
        yield tag("div", judged, *shown, class_="claim")


def _number(name: str) -> str:
    return BEYOND.get(name) or name.replace("table", "Table ")


def _parts(table: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a table and the further tables in its file, each with its title."""
    yield table.get("title", ""), table
    for key, value in table.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Mapping) and "cells" in part:
                yield part.get("title", key.replace("_", " ")), part


def _heading(name: str, table: Mapping[str, Any] | None) -> str:
    return f"{_number(name)}: {table['title']}" if table and "title" in table else _number(name)


def _table(name: str, table: Mapping[str, Any] | None, contents: Contents) -> Iterator[Element]:
    """Yield a table beside the paper's, as a picture and with its counts; then the further tables in its file."""
    if not table:
        command = f"python -m experiments {name} --scale {contents.scale}"
        yield tag("p", "This table is not made yet. To make it, run ", tag("code", command), ".")
        return
    for title, part in _parts(table):
        if part is not table:
            yield tag("h3", title)
        yield _beside(part["cells"])
        if name == "table7" and part is table:
            yield from _adaptation(part["cells"], contents.models)
        elif 0 < len({cell["column"] for cell in part["cells"] if "wer" in cell}) <= MOST_COLUMNS:
            drawn = [cell for cell in part["cells"] if "wer" in cell]
            yield _drawn("Word error rates by test set and model, with 95% intervals", draw_errors, drawn)
        yield _counts(part["cells"])
    for picture, content in contents.pictures.items():
        if picture.startswith(name):
            yield figure(content, "png", f"{_number(name)} as a picture ({picture})")
    if name == "table2" and not any(picture.startswith(name) for picture in contents.pictures):
        yield tag("p", "There is no picture of the domains among the results.", class_="faint")


def _entries(cell: Mapping[str, Any]) -> Iterator[TableEntry]:
    """Yield a cell's numbers: its word error rate, or each measure that has an interval (Table 2)."""
    if "wer" in cell:
        interval = "[{:.1f}, {:.1f}]".format(*cell["ci95"]) if cell["ci95"] else ""
        paper = "" if cell.get("paper") is None else f"{cell['paper']:.1f}"
        yield TableEntry(cell["row"], cell["column"], f"{cell['wer']:.1f}", interval, paper)
        return
    for measure in (name for name in cell if f"{name}_ci95" in cell):
        paper = str((cell.get("paper") or {}).get(measure, ""))
        yield TableEntry(cell["row"], measure, str(cell[measure]), json.dumps(cell[f"{measure}_ci95"]), paper)


def _beside(cells: Sequence[Mapping[str, Any]]) -> Element:
    """Return a table of our numbers with their 95% intervals, beside the paper's."""
    entries = {(entry.row, entry.column): entry for cell in cells for entry in _entries(cell)}
    rows, columns = ([*dict.fromkeys(key[i] for key in entries)] for i in (0, 1))
    paper = any(entry.paper for entry in entries.values())

    def numbers(row: str, column: str) -> list[Element | str]:
        entry = entries.get((row, column), TableEntry(row, column, "–", "", ""))
        ours = tag("td", entry.value, " ", tag("small", entry.interval))
        return [ours, entry.paper] if paper else [ours]

    top = [
        tag("tr", tag("th"), *(tag("th", name, scope="colgroup", colspan=str(1 + paper)) for name in columns)),
        *(heads("", *("ours", "paper") * len(columns)) if paper else ()),
    ]
    return grid(top, [[row, *(number for column in columns for number in numbers(row, column))] for row in rows])


def _counts(cells: Sequence[Mapping[str, Any]]) -> Element:
    """Return a table of all values that the cells hold, unrounded."""
    names = [*dict.fromkeys(key for cell in cells for key in cell if key != "row" and not isinstance(cell[key], dict))]

    def text(value: Any) -> str:
        return value if isinstance(value, str) else "" if value is None else json.dumps(value)

    rows = [[cell["row"], *(text(cell.get(name)) for name in names)] for cell in cells]
    return tag("details", tag("summary", "All values"), grid(heads("row", *names), rows))


def _adaptation(cells: Sequence[Mapping[str, Any]], models: Sequence[TrainedModel]) -> Iterator[Element]:
    known = {trained.model.name: trained for trained in models if "seconds_of_audio" in trained.facts}
    if lacking := [cell["row"] for cell in cells if cell["row"] not in known]:
        yield tag("p", f"Not in the picture, because the models are missing: {', '.join(lacking)}.", class_="faint")
    drawn = [cell for cell in cells if cell["row"] in known]
    if not drawn:
        return
    ours = _curves("s", drawn, known, lambda each: sum(each.facts["seconds_of_audio"]), "wer")
    paper = _curves("h", drawn, known, lambda each: IN_DOMAIN_HOURS * each.model.share, "paper")
    panels = {"here": ours} | ({"in the paper": paper} if paper.starts else {})
    yield _drawn("Word error rate on Telephony against the amount of in-domain audio", draw_starts, panels)


def _curves(
    unit: str,
    cells: Sequence[Mapping[str, Any]],
    known: Mapping[str, TrainedModel],
    amount: Callable[[TrainedModel], float],
    measure: str,
) -> Adaptation:
    """Return Table 7's cells as one curve for each start model, and the point of training from scratch."""
    starts: dict[str, list[Point]] = {}
    scratch = None
    for cell in (cell for cell in cells if cell.get(measure) is not None):
        trained, wer = known[cell["row"]], float(cell[measure])
        low, high = cell["ci95"] if measure == "wer" and cell["ci95"] else (wer, wer)
        in_domain = trained.model.domains == (IN_DOMAIN,)
        point = Point(float(amount(trained)) if in_domain else 0.0, wer, (float(low), float(high)))
        start = trained.model.parent or trained.model
        if in_domain and start is trained.model:
            scratch = point
        else:
            starts.setdefault(start.name, []).append(point)
    return Adaptation(unit, starts, scratch)


def _training(models: Sequence[TrainedModel]) -> Iterator[Element]:
    courses: dict[str, list[Course]] = {}
    for each in models:
        if each.facts and {"train/loss", "train/frame_accuracy"} <= each.curves.keys():
            course = Course(each.curves["train/loss"], each.curves["train/frame_accuracy"], each.facts["steps"])
            courses.setdefault(each.model.name, []).append(course)
    if lacking := dict.fromkeys(each.model.name for each in models if each.model.name not in courses):
        text = f"No curves for {', '.join(lacking)}: the models are not trained, or their event files are missing."
        yield tag("p", text, class_="faint")
    if courses:
        yield _drawn(
            "Loss and share of correct frames during training. The dotted line is the step whose parameters were kept.",
            draw_training,
            courses,
        )


def _models(models: Sequence[TrainedModel]) -> Iterator[Element]:
    numbers = ("seed", "audio (s)", "steps", "time (s)", "waiting for input", "correct frames", "dev WER (%)")
    trained = [each for each in models if each.facts]
    yield grid(heads("Model", *numbers, "device", "started from", "trained on", "simulated"), map(_model, trained))
    if missing := [f"{each.model.name} ({each.seed})" for each in models if not each.facts]:
        yield tag("p", f"Not trained yet (seed): {', '.join(missing)}.")


def _model(trained: TrainedModel) -> list[Element | str]:
    model, facts = trained.model, trained.facts
    audio = facts.get("seconds_of_audio")
    numbers: list[Element | str] = [
        "not recorded" if audio is None else f"{sum(audio):,.1f}",
        f"{facts['steps']:,}",
        f"{facts['seconds']:,.1f}",
        f"{facts['waited_for_input']:.1%}",
        f"{facts['frame_accuracy']:.1%}",
        str(facts.get("dev_wer", "not recorded")),
        tag("td", facts.get("device", "not recorded"), class_="text"),
    ]
    share = f" ({model.share:.1%})" if model.share < 1 else ""
    simulated = ([f"noise on {', '.join(model.noise_on)}"] if model.noise_on else []) + ["codecs"] * model.codecs
    simulated += [f"{name.replace('_', ' ')} {value}" for name, value in dataclasses.asdict(model.regime).items()
                  if value != getattr(AS_PUBLISHED, name)]  # fmt: skip
    texts = (model.parent.name if model.parent else "scratch", ", ".join(model.domains) + share, "; ".join(simulated))
    return [model.name, str(trained.seed), *numbers, *(tag("td", text, class_="text") for text in texts)]


def _drawn(caption: str, draw: Callable[[io.BytesIO, Any], None], data: Any) -> Element:
    content = io.BytesIO()
    draw(content, data)
    return figure(content.getvalue(), "svg+xml", caption)
