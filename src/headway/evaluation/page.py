"""One HTML page of an evaluation: metrics, confusion matrix, sample predictions with their pictures.

In: an `Evaluation`, a function that gives the bytes of a raw file by its key, perhaps a `Comparison`. Out: one
self-contained file: no script, no other file, readable in light and in dark.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape
from pathlib import Path

from headway.evaluation.compare import Comparison
from headway.evaluation.evaluation import Confusion, Evaluation, Sample
from headway.evaluation.metrics import METRICS

MAX_PICTURE_BYTES = 400_000
MAX_TEXT = 400
_SMALL_PIXELS = 64
_SHORT_LABEL = 4
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
}

Raw = Callable[[str], bytes | None]


def page(
    evaluation: Evaluation, *, raw: Raw | None = None, title: str = "", comparison: Comparison | None = None
) -> str:
    """The page as text.

    Args:
        raw: key -> bytes of the raw file; None, or FileNotFoundError, where there is none.
        title: None for the name of the model.
        comparison: with a champion on the same data.
    """
    heading = title or evaluation.model
    parts = [
        f"<h1>{_text(heading)}</h1>",
        f'<p class="soft">{_text(_subtitle(evaluation))}</p>',
        _cards(evaluation),
        _comparison(comparison),
        _notes(evaluation),
        _samples(evaluation, raw),
        _confusions(evaluation),
        _origin(evaluation),
    ]
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{_text(heading)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def write_page(
    path: Path | str,
    evaluation: Evaluation,
    *,
    raw: Raw | None = None,
    title: str = "",
    comparison: Comparison | None = None,
) -> Path:
    """Write the page, whole; its path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".tmp-{target.name}")
    temporary.write_text(page(evaluation, raw=raw, title=title, comparison=comparison), encoding="utf-8")
    temporary.replace(target)
    return target


def _text(value: str) -> str:
    return escape(value, quote=True).replace("\n", "&#9166;")


def _number(value: float) -> str:
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.4g}"


def _subtitle(evaluation: Evaluation) -> str:
    rows = ", ".join(f"{count:,} {channel}" for channel, count in evaluation.rows.items())
    wrong = [s for s in evaluation.samples if not s.is_right]
    shown = f"; {len(wrong)} of the {len(evaluation.samples)} samples below are wrong" if evaluation.samples else ""
    return f"Scored on {evaluation.dataset}: {rows} rows{shown if evaluation.task == 'classification' else ''}."


def _cards(evaluation: Evaluation) -> str:
    found = {name.rpartition(":")[2] for name in evaluation.metrics}
    short = [name for name in METRICS if name in found] + sorted(found - set(METRICS))
    cards = []
    for name in short:
        test, validation = (evaluation.metrics.get(f"{channel}:{name}") for channel in ("test", "validation"))
        main, channel = (test, "test") if test is not None else (validation, "validation")
        if main is None:
            continue
        under = f"validation {_number(validation)}" if test is not None and validation is not None else f"on {channel}"
        label = name.replace("_", " ")
        cards.append(f'<div class="card"><span>{_text(label)}</span><b>{_number(main)}</b><span>{under}</span></div>')
    return f'<section class="cards">{"".join(cards)}</section>' if cards else ""


def _comparison(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    return f'<div class="note"><b>Against {_text(comparison.champion_model)}</b><p>{_text(comparison.text)}</p></div>'


def _notes(evaluation: Evaluation) -> str:
    if not evaluation.notes:
        return ""
    lines = "".join(f"<li>{_text(note)}</li>" for note in evaluation.notes)
    return f'<div class="note"><b>Good to know</b><ul>{lines}</ul></div>'


def _samples(evaluation: Evaluation, raw: Raw | None) -> str:
    if not evaluation.samples:
        return ""
    ordered = sorted(evaluation.samples, key=lambda sample: sample.is_right)
    how = "wrong ones first" if evaluation.task == "classification" else "largest errors first"
    if evaluation.task == "regression":
        ordered = list(evaluation.samples)
    figures = "\n".join(_figure(sample, raw, evaluation) for sample in ordered)
    return f'<h2>Sample predictions<small>{how}</small></h2>\n<section class="samples">\n{figures}\n</section>'


def _figure(sample: Sample, raw: Raw | None, evaluation: Evaluation) -> str:
    is_class = evaluation.task == "classification"
    wrong = is_class and not sample.is_right
    verdict = ("&#10007; wrong" if wrong else "&#10003; right") if is_class else ""
    word = "instead of" if is_class else "true value"
    truth = f"{word} <b>{_text(sample.true)}</b>" if wrong or not is_class else ""
    sure, bar = "", ""
    if sample.probability is not None:
        percent = max(0.0, min(100.0, 100.0 * sample.probability))
        bar = f'<div class="bar"><i style="width:{percent:.1f}%"></i></div>'
        sure = f'<span class="soft">{percent:.1f} % sure</span>'
    return (
        f'<figure class="{"is-wrong" if wrong else "is-right"}"><div class="shown">{_shown(sample.key, raw)}</div>'
        f'<figcaption><span class="verdict">{verdict}</span><span class="said">{_text(sample.predicted)}</span>'
        f"<span>{truth}</span>{bar}{sure}"
        f'<span class="key">{_text(sample.channel)}: {_text(sample.key)}</span></figcaption></figure>'
    )


def _shown(key: str, raw: Raw | None) -> str:
    """The raw file: a picture where a browser can show one, else the beginning of its text, else its size."""
    if raw is None:
        return "<span>no raw file</span>"
    try:
        data = raw(key)
    except OSError:
        data = None
    if data is None:
        return "<span>raw file not found</span>"
    kind = _media_type(data)
    if kind and len(data) > MAX_PICTURE_BYTES:
        return f"<span>{kind}, {len(data):,} bytes: too large to embed</span>"
    if kind:
        small = ' class="small"' if _is_small(data, kind) else ""
        return f'<img{small} alt="{_text(key)}" src="data:{kind};base64,{base64.b64encode(data).decode()}">'
    try:
        text = data[: MAX_TEXT * 4].decode("utf-8", errors="strict" if len(data) <= MAX_TEXT * 4 else "ignore")
    except UnicodeDecodeError:
        return f"<span>{len(data):,} bytes</span>"
    if "\0" in text:
        return f"<span>{len(data):,} bytes</span>"
    return f"<pre>{escape(text[:MAX_TEXT])}</pre>"


def _media_type(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _SIGNATURES.items() if data.startswith(start)), "")


def _is_small(data: bytes, kind: str) -> bool:
    """Whether single pixels should stay sharp when the picture is enlarged."""
    return kind == "image/png" and len(data) > 24 and int.from_bytes(data[16:20], "big") <= _SMALL_PIXELS


def _confusions(evaluation: Evaluation) -> str:
    if not evaluation.confusion:
        return ""
    channels = sorted(evaluation.confusion, key=lambda name: (name != "test", name))
    first, *rest = channels
    parts = [f"<h2>Confusion matrix<small>{_text(first)}</small></h2>", _confusion(evaluation.confusion[first])]
    for channel in rest:
        table = _confusion(evaluation.confusion[channel])
        parts.append(f"<details><summary>The same for {_text(channel)}</summary>{table}</details>")
    return "\n".join(parts)


def _confusion(confusion: Confusion) -> str:
    """Rows are true labels, shaded by their share of the row; mistakes are shaded more strongly."""
    turned = ' class="turned"' if any(len(label) > _SHORT_LABEL for label in confusion.labels) else ""
    heads = "".join(
        f'<th scope="col" title="{_text(label)}"{turned}><span>{_text(label)}</span></th>' for label in confusion.labels
    )
    width = len(confusion.labels)
    lines = []
    for row, (label, counts) in enumerate(zip(confusion.labels, confusion.counts, strict=True)):
        total = sum(counts)
        cells = "".join(
            _cell(
                count, total, is_right=row == column, title=f"{label} predicted as {confusion.labels[column]}: {count}"
            )
            for column, count in enumerate(counts)
        )
        share = f"{100 * counts[row] / total:.0f} % of {total:,}" if total else "none"
        lines.append(
            f'<tr><th scope="row" title="{_text(label)}">{_text(label)}</th>{cells}<td class="share">{share}</td></tr>'
        )
    return (
        f'<div class="scroll"><table class="confusion"><thead><tr><th></th><th class="axis" colspan="{width}">'
        f'predicted &#8594;</th></tr><tr><th class="axis">true &#8595;</th>{heads}<th class="share">right</th>'
        f"</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(count: int, total: int, *, is_right: bool, title: str) -> str:
    if count == 0:
        return f'<td class="none" title="{_text(title)}">0</td>'
    share = count / total
    heat = 0.12 + 0.5 * share if is_right else min(0.75, 0.18 + 1.6 * share)
    kind = "right" if is_right else "wrong"
    return f'<td class="{kind}" style="--heat:{heat:.2f}" title="{_text(title)}">{count:,}</td>'


def _origin(evaluation: Evaluation) -> str:
    lines = {
        "evaluation": evaluation.id,
        "model": f"{evaluation.model} ({evaluation.model_digest[:12]})",
        "dataset": f"{evaluation.dataset} ({evaluation.dataset_digest[:12]})",
        "predictions": evaluation.predictions_digest[:12],
    }
    items = "".join(f"<dt>{name}</dt><dd>{_text(value)}</dd>" for name, value in lines.items())
    return f"<h2>Where this comes from</h2>\n<dl>{items}</dl>"
