"""Medians and ratios, side by side, as Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from benchmarks._cases import CASES
from benchmarks._rounds import Figures
from benchmarks._systems import BASE, CHANNELS, SYSTEMS

LEGEND = """\
One table a workload: a row for each system, three columns for each case. A figure is the
median of the rounds. The two columns after it say how many times as much that is as what
agentflow on trio takes, and as what raw trio channels take: the median of the ratios
within a round. A star: measured with fewer tokens or flows at a time."""


def table(figures: Figures, systems: Sequence[str], cases: Iterable[str]) -> str:
    """Return one table a workload; `LEGEND` says how to read them."""
    parts: list[str] = []
    named = list(cases)
    for workload in dict.fromkeys(case[:2] for case in named):
        mine = [case for case in named if case[:2] == workload]
        parts.append("\n".join(_rows(figures, systems, mine)))
    return "\n\n".join(parts) + "\n"


def _rows(
    figures: Figures, systems: Sequence[str], cases: Sequence[str]
) -> Iterator[str]:
    head = [f"{case}, {CASES[case].unit} | / agentflow | / channels" for case in cases]
    yield f"| | {' | '.join(head)} |"
    yield "|---|" + "---:|" * (3 * len(cases))
    for system in systems:
        cells = [cell for case in cases for cell in _cells(figures, system, case)]
        if any(cells):
            yield f"| {system} | {' | '.join(cells)} |"


def _cells(figures: Figures, system: str, case: str) -> tuple[str, str, str]:
    mine = figures.taken.get((system, case))
    if not mine:
        return "", "", ""
    work = CASES[case]
    star = "" if SYSTEMS[system].share_of(work) == work else " *"
    return (
        _digits(median(mine.values())) + star,
        _ratio(mine, figures.taken.get((BASE, case), {})),
        _ratio(mine, figures.taken.get((CHANNELS, case), {})),
    )


def _ratio(mine: dict[int, float], others: dict[int, float]) -> str:
    ratios = [mine[r] / others[r] for r in mine if others.get(r)]
    return _digits(median(ratios)) if ratios else ""


def _digits(figure: float) -> str:
    """Write three significant digits, and no more than two decimals."""
    if abs(figure) >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}"
