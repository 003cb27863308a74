"""This file knows the diagnosis protocols: a bearing of unseen damage size or geometry, and seven states of a rig.

The product is told no label. Its answer is the first label of each window's diagnosis; "unknown" is a wrong answer on
a fault, and the right one on a healthy window. A file's answer is the label most of its windows have.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.verdicts.classifiers import CLASSIFIERS, trained_labels
from benchmarks.verdicts.context import COMMISSION_WINDOWS, Context, Target
from benchmarks.verdicts.detection import PRODUCT
from benchmarks.verdicts.features import Rows
from benchmarks.verdicts.metrics import balanced_accuracy, majority, rate_of, recall_by_class
from benchmarks.verdicts.product import UNKNOWN
from benchmarks.verdicts.recordings import HEALTHY, WINDOW_S, Head, Part, first_windows
from benchmarks.verdicts.tables import NOT_IN_FOLDER, Figure, Outcome, Table, number

BEARING_LABELS = ("ball", "inner", "outer")
WINDOWS_S = (0.25, 1.0)
WHOLE_S = 2.0
SEEN_BEARING = "drive end"


@dataclass(frozen=True, slots=True)
class Named:
    """What one method called the windows of one file; `fold` is what was left out when it was trained."""

    method: str
    fold: str
    true: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One file as classifiers see it; files of one fold are left out together, only those of one rate are compared."""

    fold: str
    rate_hz: float
    true: str
    rows: Rows


def unseen_size(context: Context) -> Outcome:
    """One damage size, which is one physical bearing, is left out of training at a time."""
    outcome = Outcome(
        "bearings", "CWRU drive end: inner, outer, ball, one fault size left out; and bearings of other geometry",
        "Trained baselines learn on the other fault sizes (for an unseen bearing: on all drive-end files) of the same "
        "rate; the product learns nothing and knows speed and geometry from the file, with a release of other data "
        "sets and no commissioning. Accuracy is balanced: the mean of the classes' recall.",
    )  # fmt: skip
    faulty = [h for h in context.heads if h.label in BEARING_LABELS and np.isfinite(h.orders).all()]
    seen = [h for h in faulty if h.dataset == "cwru" and h.bearing.startswith(SEEN_BEARING)]
    if not seen:
        outcome.missing = NOT_IN_FOLDER
        return outcome
    orders = seen[0].orders
    other = [h for h in faulty if not np.allclose(h.orders, orders, rtol=0.01)]
    for window_s in WINDOWS_S[: 1 if context.quick else None]:
        context.tell(f"bearings: windows of {window_s:g} s")
        taught = _examples(context, seen, window_s)
        named = [*_by_product(context, seen, window_s), *_by_trained(taught, taught, apart=True)]
        outcome.tables += [
            _by_method(f"One fault size left out, windows of {window_s:g} s", named),
            _by_fold(f"Fault size left out, balanced accuracy of windows of {window_s:g} s", named),
            _confusion(f"Undertone, windows of {window_s:g} s", named),
        ]
        outcome.figures.append(_figure(f"one fault size left out, {window_s:g} s", named, ".692"))
        outcome.data[f"size_{window_s:g}"] = _data(named)
        if other:
            unseen = _examples(context, other, window_s)
            named = [*_by_product(context, other, window_s), *_by_trained(taught, unseen, apart=False)]
            outcome.tables += [
                _by_method(f"Unseen bearing of other geometry, windows of {window_s:g} s", named),
                _confusion(f"Undertone on the unseen bearing, windows of {window_s:g} s", named),
            ]
            outcome.figures.append(_figure(f"unseen bearing, {window_s:g} s", named, ".733"))
            outcome.data[f"geometry_{window_s:g}"] = _data(named)
    if not other:
        outcome.missing = f"bearing of other geometry: {NOT_IN_FOLDER}"
    return outcome


def unseen_speed(context: Context) -> Outcome:
    """Seven states of a machine at a speed that no classifier was trained on."""
    outcome = Outcome(
        "states", "ADI: healthy and six kinds of fault at an unseen speed",
        "Every condition is commissioned on its first five healthy windows. Trained baselines learn on all other "
        "speeds, from features less the mean of those five windows; the product's release knows healthy recordings of "
        "other conditions. Healthy is named right by `unknown`. Accuracy is balanced over the classes; mean and worst "
        f"are over speeds. The whole record of {WHOLE_S:g} s as one window leaves nothing to commission on: there "
        "nobody is, and the baselines see plain features.",
    )  # fmt: skip
    targets = [t for t in context.targets() if t.dataset == "adi" and np.isfinite(t.healthy[0].rpm)]
    if len({t.healthy[0].rpm for t in targets}) < 2:
        outcome.missing = NOT_IN_FOLDER
        return outcome
    for window_s in (WINDOW_S, WHOLE_S)[: 1 if context.quick else None]:
        named = _states(context, targets, window_s)
        what = f"windows of {window_s:g} s" + ("" if window_s < WHOLE_S else ", nothing commissioned")
        outcome.tables += [
            _by_method(what.capitalize(), named),
            _by_fold(f"Speed, balanced accuracy of {what}", named),
            _confusion(f"Undertone, {what}", named),
        ]
        if window_s < WHOLE_S:
            speeds = [_accuracy(mine) for mine in _folds([n for n in named if n.method == PRODUCT]).values()]
            outcome.figures += [
                Figure("mean over speeds", float(np.mean(speeds)), "at least", 0.85, ".779"),
                Figure("worst speed", min(speeds), "at least", 0.55, ".33"),
            ]
        outcome.data[f"{window_s:g}"] = _data(named)
    return outcome


def _examples(context: Context, heads: Sequence[Head], window_s: float) -> list[Example]:
    return [Example(_size(h), h.rate_hz, h.label, context.features.rows([Part(h)], window_s)) for h in heads]


def _size(head: Head) -> str:
    return f"{head.severity:g}"


def _by_product(context: Context, heads: Sequence[Head], window_s: float) -> list[Named]:
    strangers = [h for h in context.healthy_elsewhere("") if h.dataset not in {head.dataset for head in heads}]
    release = context.product.release(strangers, window_s=WINDOW_S)
    answers = context.product.verdicts([Part(h) for h in heads], release=release, commission=[], window_s=window_s)
    return [
        Named(PRODUCT, _size(head), head.label, tuple(v.label for v in answer))
        for head, answer in zip(heads, answers, strict=True)
    ]


def _by_trained(known: Sequence[Example], unseen: Sequence[Example], *, apart: bool) -> list[Named]:
    """Train on what is known of the same rate, with `apart` without the fold that is to be named.

    A file of fewer channels is named from the first channels of the others.
    """
    named = []
    for fold, rate_hz, channels in dict.fromkeys((e.fold, e.rate_hz, e.rows.shape[1]) for e in unseen):
        asked = [e for e in unseen if (e.fold, e.rate_hz, e.rows.shape[1]) == (fold, rate_hz, channels)]
        taught = [
            e for e in known if e.rate_hz == rate_hz and e.rows.shape[1] >= channels and not (apart and e.fold == fold)
        ]
        if len({e.true for e in taught}) < 2:
            continue
        rows = np.concatenate([e.rows[:, :channels] for e in taught])
        labels = [e.true for e in taught for _ in e.rows]
        unknown = np.concatenate([e.rows for e in asked])
        for method in CLASSIFIERS:
            found = iter(trained_labels(method, rows, labels, unknown))
            named += [Named(method, fold, e.true, tuple(next(found) for _ in e.rows)) for e in asked]
    return named


def _states(context: Context, targets: Sequence[Target], window_s: float) -> list[Named]:
    """Name the windows of every condition by the product, and by classifiers that know all other speeds."""
    named, examples = [], []
    for place, target in enumerate(targets, 1):
        context.tell(f"states {place}/{len(targets)}: {target.name}, windows of {window_s:g} s")
        lead = target.healthy[0]
        first, rest = first_windows(lead, COMMISSION_WINDOWS, target.window_s)
        commission = [first] if window_s < WHOLE_S else []
        parts = [rest if commission else Part(lead), *(Part(h) for h in (*target.healthy[1:], *target.faults))]
        release = context.product.release(context.healthy_elsewhere(target.condition), window_s=target.window_s)
        answers = context.product.verdicts(parts, release=release, commission=commission, window_s=window_s)
        mean = context.features.rows(commission, window_s).mean(axis=0) if commission else 0.0
        speed = f"{lead.rpm:g} rpm"
        for part, answer in zip(parts, answers, strict=True):
            labels = tuple(HEALTHY if v.label == UNKNOWN else v.label for v in answer)
            named.append(Named(PRODUCT, speed, part.head.label, labels))
            rows = context.features.rows([part], window_s) - mean
            examples.append(Example(speed, lead.rate_hz, part.head.label, rows))
    return [*named, *_by_trained(examples, examples, apart=True)]


def _accuracy(named: Sequence[Named]) -> float:
    """Balanced, of windows."""
    pairs = [(label, n.true) for n in named for label in n.labels]
    return balanced_accuracy(recall_by_class([p[0] for p in pairs], [p[1] for p in pairs]))


def _folds(named: Sequence[Named]) -> dict[str, list[Named]]:
    return {fold: [n for n in named if n.fold == fold] for fold in sorted({n.fold for n in named}, key=_by_number)}


def _by_number(fold: str) -> float:
    return float(fold.split(maxsplit=1)[0])


def _methods(named: Sequence[Named]) -> dict[str, list[Named]]:
    return {method: [n for n in named if n.method == method] for method in dict.fromkeys(n.method for n in named)}


def _figure(name: str, named: Sequence[Named], best_known: str) -> Figure:
    return Figure(name, _accuracy([n for n in named if n.method == PRODUCT]), "at least", 0.80, best_known)


def _by_method(title: str, named: Sequence[Named]) -> Table:
    rows = []
    for method, mine in _methods(named).items():
        windows = rate_of([label == n.true for n in mine for label in n.labels])
        whole = [majority(n.labels) for n in mine]
        files = recall_by_class(whole, [n.true for n in mine])
        folds = [_accuracy(part) for part in _folds(mine).values()]
        unknown = rate_of([label in {UNKNOWN, HEALTHY} for n in mine if n.true != HEALTHY for label in n.labels])
        rows.append((
            method, number(_accuracy(mine)), str(windows), number(balanced_accuracy(files)),
            str(rate_of([label == n.true for label, n in zip(whole, mine, strict=True)])),
            number(float(np.mean(folds))), number(min(folds)), str(unknown),
        ))  # fmt: skip
    columns = (
        "method", "windows, balanced", "windows", "files, balanced", "files", "mean of folds", "worst fold",
        "faults not named",
    )  # fmt: skip
    return Table(title, columns, tuple(rows))


def _by_fold(title: str, named: Sequence[Named]) -> Table:
    folds = list(_folds(named))
    rows = [
        (method, *(number(_accuracy(part)) if (part := _folds(mine).get(fold)) else "none" for fold in folds))
        for method, mine in _methods(named).items()
    ]
    counts = ["windows", *(str(sum(len(n.labels) for n in _folds(named)[f] if n.method == PRODUCT)) for f in folds)]
    return Table(title, ("method", *folds), (*rows, tuple(counts)))


def _confusion(title: str, named: Sequence[Named]) -> Table:
    mine = [n for n in named if n.method == PRODUCT]
    counts = {true: Counter(label for n in mine if n.true == true for label in n.labels) for true in _true(mine)}
    said = sorted({label for counted in counts.values() for label in counted})
    rows = tuple((true, *(str(counted[label]) for label in said)) for true, counted in counts.items())
    return Table(f"{title}: true label by row, said by column", ("true", *said), rows)


def _true(named: Sequence[Named]) -> list[str]:
    return sorted({n.true for n in named})


def _data(named: Sequence[Named]) -> dict[str, object]:
    return {
        method: {
            "balanced_accuracy": _accuracy(mine),
            "folds": {fold: _accuracy(part) for fold, part in _folds(mine).items()},
            "windows": sum(len(n.labels) for n in mine),
        }
        for method, mine in _methods(named).items()
    }
