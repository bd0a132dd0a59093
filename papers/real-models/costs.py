"""What marks of each scheme and strength cost and show on one model: `watermark_core.quality` under many profiles."""

import json

import models
import serve

GREEN = {"name": "distillation", "scheme": "greenlist", "gamma": 0.5, "width": 1, "prf": "chacha20-v1"}
GUMBEL = {"name": "provenance", "scheme": "gumbel", "width": 4, "prf": "chacha20-v1"}
TOURNAMENT = {"name": "distillation", "scheme": "tournament", "depth": 30, "width": 1, "prf": "chacha20-v1"}
PAIRS = {"name": "pairs", "scheme": "paired", "width": 0, "prf": "chacha20-v1"}
BEFORE = {"boost": "before_temperature"}
# The layers of each profile, and where a boost acts.
PROFILES = {
    "green list, delta 0.5": ([GREEN | {"delta": 0.5}], BEFORE),
    "green list, delta 1": ([GREEN | {"delta": 1.0}], BEFORE),
    "green list, delta 2": ([GREEN | {"delta": 2.0}], BEFORE),
    "green list, delta 2, after the temperature": ([GREEN | {"delta": 2.0}], None),
    "mcmark": ([{"name": "distillation", "scheme": "mcmark", "gamma": 0.5, "width": 1, "prf": "chacha20-v1"}], None),
    "tournament": ([TOURNAMENT], None),
    "gumbel, width 1": ([GUMBEL | {"name": "distillation", "width": 1}], None),
    "gumbel, width 4": ([GUMBEL], None),
    "paired draws": ([PAIRS], None),
    "green list, delta 2, and gumbel, width 4": ([GREEN | {"delta": 2.0}, GUMBEL], BEFORE),
    "tournament, and gumbel, width 4": ([TOURNAMENT, GUMBEL], None),
}
OPTIONS = {"max_tokens": 64, "repeated_prompts": 10, "repeats": 20, "tasks": 100, "batch_size": 32, **serve.SAMPLING}
COLUMNS = ["profile", "measure", "value", "low", "high"]


def measure(stages, program, model, prompts, judge, device):
    """The folder with `quality.json`."""
    from watermark_core import quality

    def make(folder):
        serve.make_profile(folder, program, model, 2)
        base, paths = json.loads((folder / "profile.json").read_text()), []
        for at, (name, (layers, sampling)) in enumerate(PROFILES.items()):
            profile = {key: value for key, value in base.items() if key != "sampling"} | {"name": name, "layers": layers}
            paths.append(folder / f"profile-{at}.json")
            paths[-1].write_text(json.dumps(profile | ({"sampling": sampling} if sampling else {})))
        quality.measure(model, prompts, folder / "answers", key=folder / "key.json", profiles=paths, judge=judge, device=device, **OPTIONS)

    inputs = {"model": model.name, "judge": judge.name, "prompts": prompts, "profiles": PROFILES, "options": OPTIONS}
    return stages.run("quality", inputs, make) / "answers" / "quality.json"


def rows(report):
    """Every number as a row."""
    for name, found in json.loads(report.read_text())["profiles"].items():
        for measure, number in flat(found):
            row = number if isinstance(number, dict) else {"value": number}
            yield [name, measure, *(float(row[key]) if key in row else "" for key in COLUMNS[2:])]


def flat(found, before=""):
    """Measures by name; `nats_judge.more` and the like where one stands in another."""
    for name, value in found.items():
        if not isinstance(value, dict) or "low" in value:
            yield before + name, value
            continue
        if "value" in value:
            yield before + name, value["value"]
        yield from flat({key: one for key, one in value.items() if key != "value"}, f"{before}{name}.")


def draw(report, path):
    """Cost against what shows: nats per token that another model finds answers less likely by, and digits of log10 p in a hundred tokens."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "frontier", "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for name, found in json.loads(report.read_text())["profiles"].items():
        if name == "unmarked" or not found["digits"]:
            continue
        more, digits = found["nats_judge"]["more"], max(found["digits"].values())
        around = [[more["value"] - more["low"]], [more["high"] - more["value"]]]
        axes.errorbar([more["value"]], [digits], xerr=around, fmt="o", capsize=3, color="#1f4e79")
        axes.annotate(name, (more["value"], digits), xytext=(6, 5), textcoords="offset points", fontsize=9)
    axes.axvline(0, color="#999999", linewidth=1)
    axes.set_xlabel("nats per token less likely to another model than unmarked answers, with 95 % intervals (left is better)")
    axes.set_ylabel("digits of log10 p in 100 tokens, strongest layer (up is better)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
