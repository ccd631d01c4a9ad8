"""A run as one page that can be sent to somebody: verdict, figures, pictures and options in one file."""

import base64
import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from handlers.files import write_whole
from handlers.mistakes import read_mistakes

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
body { color: #222; background: #fff; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
img { max-width: 100%; height: auto; } table { border-collapse: collapse; }
td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.verdict { background: #eef5f6; border-left: 4px solid #00798c; padding: .5rem 1rem; }
.notice { background: #fdf3e1; border-left: 4px solid #edae49; padding: .5rem 1rem; }
code { font-size: .9em; }
"""


def write_report_page(directory: str | Path) -> Path:
    """Write ``report.html`` from ``summary.json``, ``config.json`` and ``report.png`` of a run's directory.

    It needs no other file and no network, and shows what is in these as text, whatever it looks like.
    """
    directory = Path(directory)
    summary = json.loads((directory / "summary.json").read_text())
    path = directory / "config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    body = "\n".join(
        [
            f"<h1>{escape(directory.name)}: {escape(str(summary['status']))}</h1>",
            *_notice(summary),
            *_verdict(summary),
            *_figures(summary),
            *_picture(directory / "report.png"),
            *_mistakes(directory),
            *_options(config),
        ]
    )
    title = f"<title>{escape(directory.name)}</title>"
    head = f'<meta charset="utf-8">{title}<style>{_STYLE}</style>'
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'
    path = directory / "report.html"
    content = page.encode("utf-8", "backslashreplace")  # a folder's name may be in no encoding
    write_whole(path, lambda temporary: temporary.write_bytes(content))
    return path


def _notice(summary: dict[str, Any]) -> list[str]:
    notice = (summary.get("dataset") or {}).get("notice")
    return [f'<p class="notice">{escape(str(notice))}</p>'] if notice else []


def _verdict(summary: dict[str, Any]) -> list[str]:
    timing = summary.get("timing")
    if not timing:
        return []
    findings = timing.get("findings") or [{"words": timing.get("diagnosis", ""), "advice": None}]
    lines = [escape(str(finding["words"])) for finding in findings]
    lines += [f"next: {escape(str(finding['advice']))}" for finding in findings if finding.get("advice")]
    return ["<h2>Where the time went</h2>", f'<p class="verdict">{"<br>".join(lines)}</p>']


def _figures(summary: dict[str, Any]) -> list[str]:
    rows = [("iterations", summary.get("iterations")), ("epochs", summary.get("epochs"))]
    rows += [("images/s", summary.get("images_per_s"))]
    if best := summary.get("best"):
        rows.append((f"best {best['metric']} (epoch {best['epoch']})", best["value"]))
    rows += list((summary.get("final") or {}).items())
    figures = ["<h2>Figures</h2>", _table((name, value) for name, value in rows if value is not None)]
    digest = summary.get("model_sha256")
    return [*figures, f"<p>model_sha256 <code>{escape(str(digest))}</code></p>"] if digest else figures


def _picture(path: Path) -> list[str]:
    if not path.is_file():
        return []
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return [f'<p><img alt="Curves, times and results of the run" src="data:image/png;base64,{data}"></p>']


def _mistakes(directory: Path) -> list[str]:
    found = read_mistakes(directory)
    if found is None:
        return []
    rows = [
        (name, f"{counts[index]} of {sum(counts)} right")
        for index, (name, counts) in enumerate(zip(found["classes"], found["confusion"], strict=True))
    ]
    return ["<h2>Classes</h2>", _table(rows)]


def _options(config: dict[str, Any]) -> list[str]:
    options = config.get("options")
    if not isinstance(options, dict):
        return []
    rows = [(f"--{name.replace('_', '-')}", value) for name, value in options.items() if value is not None]
    return ["<details><summary>Options</summary>", _table(rows), "</details>"]


def _table(rows: Iterable[tuple[str, Any]]) -> str:
    lines = []
    for name, value in rows:
        text = f"{value:,.5g}" if isinstance(value, float) else str(value)
        number = ' class="number"' if isinstance(value, int | float) and not isinstance(value, bool) else ""
        lines.append(f"<tr><td>{escape(str(name))}</td><td{number}>{escape(text)}</td></tr>")
    return "<table>" + "".join(lines) + "</table>"
