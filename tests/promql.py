"""Which metrics and labels a PromQL expression uses, and which of them docs/metrics.md knows.

The grammar: https://prometheus.io/docs/prometheus/latest/querying/basics/ and .../operators/;
upstream's own is promql/parser/lex.go and generated_parser.y in prometheus/prometheus. It takes
what is PromQL apart and does not refuse what is none: `promtool check rules` does that.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|\#[^\n]*)
    | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
    | (?P<number>(?:0[xX][0-9a-fA-F_]+|(?:[0-9]+(?:ms|[smhdwy]))+
        |(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)(?!\w))
    | (?P<name>[a-zA-Z_:][\w:]*)
    | (?P<operator>=~|!~|==|!=|<=|>=|[-+*/%^<>=@,:(){}\[\]])
    """,
    re.VERBOSE,
)

_AGGREGATIONS = {
    "avg", "bottomk", "count", "count_values", "group", "limit_ratio", "limitk", "max", "min",
    "quantile", "stddev", "stdvar", "sum", "topk",
}  # fmt: skip
_LABEL_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "atan2", "bool", "offset", "inf", "nan", "start", "end"}
_LABEL_FUNCTIONS = {"label_replace", "label_join", "count_values"}

_CLOSING = {"(": ")", "{": "}", "[": "]"}


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label in a selector's braces."""

    label: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric's name, empty where braces stand alone, and its conditions."""

    metric: str
    matchers: tuple[Matcher, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """What docs/metrics.md says of a metric."""

    type: str
    labels: frozenset[str]
    """Its own, and those of the targets of all who export it."""
    exporters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """What an expression takes from the database, and what it then asks of it."""

    selectors: tuple[Selector, ...]
    grouped: frozenset[str]
    """Labels that aggregations, matchings and label functions name."""
    created: frozenset[str]
    """Labels that label functions make."""

    @property
    def metrics(self) -> frozenset[str]:
        return frozenset(selector.metric for selector in self.selectors)

    @property
    def labels(self) -> frozenset[str]:
        """Return all labels that it names and does not make itself."""
        matched = {m.label for selector in self.selectors for m in selector.matchers}
        return (self.grouped | matched) - self.created


def parse(text: str) -> Expression:
    """Return what an expression uses. Raises ValueError where it can't be taken apart."""
    tokens = _tokens(text)
    selectors: list[Selector] = []
    grouped: set[str] = set()
    created: set[str] = set()
    at = 0
    while at < len(tokens):
        token, word = tokens[at], tokens[at].text.lower()
        follows = tokens[at + 1].text if at + 1 < len(tokens) else ""
        if token.text in ("{", "["):
            end = _closing(tokens, at)
            if token.text == "{":
                selectors.append(_selector("", tokens[at + 1 : end]))
            at = end + 1
        elif token.kind != "name" or word in _WORDS:
            at += 1
        elif word in _LABEL_LISTS:
            if follows == "(":
                end = _closing(tokens, at + 1)
                grouped |= {_text(t) for t in tokens[at + 2 : end] if t.text != ","}
                at = end
            at += 1
        elif follows == "(" or _is_aggregation(word, follows):
            if word in _LABEL_FUNCTIONS:
                made, read = _label_function(word, _arguments(tokens, at))
                created |= made
                grouped |= read
            at += 1
        elif follows == "{":
            end = _closing(tokens, at + 1)
            selectors.append(_selector(token.text, tokens[at + 2 : end]))
            at = end + 1
        else:
            selectors.append(Selector(token.text, ()))
            at += 1
    return Expression(tuple(selectors), frozenset(grouped), frozenset(created))


def mistakes(expression: Expression, known: Mapping[str, Metric]) -> list[str]:
    """Return what the expression uses that is not known, a line each."""
    found = []
    for selector in expression.selectors:
        if selector.metric not in known:
            found.append(f"no metric is called {selector.metric or '(any name)'}")
            continue
        found += [
            f"{selector.metric} has no label {matcher.label}"
            for matcher in selector.matchers
            if matcher.label not in known[selector.metric].labels
        ]
    there = {label for name in expression.metrics & known.keys() for label in known[name].labels}
    unknown = sorted(expression.grouped - expression.created - there)
    return found + [f"none of its metrics has a label {label}" for label in unknown]


def documented(page: str) -> dict[str, Metric]:
    """Return the metrics of the page's tables, by name.

    Its first table tells the labels of each exporter's targets, the others a metric a row.
    Raises ValueError where a metric stands there twice, KeyError where its exporter is not known.
    """
    rows = list(_rows(page))
    targets = {
        row["Exporter"]: frozenset(_quoted(row["Labels of the target"]))
        for row in rows
        if "Labels of the target" in row
    }
    found: dict[str, Metric] = {}
    for row in rows:
        if "Metric" not in row:
            continue
        (name,) = _quoted(row["Metric"])
        if name in found:
            raise ValueError(f"{name} stands there twice")
        exporters = tuple(row["Exporter"].split(", "))
        labels = frozenset(_quoted(row["Labels"])).union(*(targets[one] for one in exporters))
        found[name] = Metric(row["Type"], labels, exporters)
    return found


def _rows(page: str) -> Iterator[dict[str, str]]:
    """Yield the rows of all tables, by the titles of their columns."""
    head: list[str] = []
    for line in page.splitlines():
        if not line.startswith("|"):
            head = []
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
        if not head:
            head = cells
        elif not set(line) <= set("|-: "):
            yield dict(zip(head, cells, strict=True))


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([\w:]+)`", cell)


def _tokens(text: str) -> list[Token]:
    found, at = [], 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if not token:
            raise ValueError(f"not PromQL from here: {text[at : at + 30]!r}")
        at, kind = token.end(), str(token.lastgroup)
        if kind != "space":
            found.append(Token(kind, token.group()))
    return found


def _closing(tokens: Sequence[Token], at: int) -> int:
    """Return the index of the bracket that closes the one at the index."""
    open_: list[str] = []
    for index in range(at, len(tokens)):
        token = tokens[index]
        if token.text in _CLOSING:
            open_.append(_CLOSING[token.text])
        elif token.text in _CLOSING.values():
            if token.text != open_.pop():
                break
            if not open_:
                return index
    raise ValueError(f"{tokens[at].text} is not closed")


def _is_aggregation(word: str, follows: str) -> bool:
    return word in _AGGREGATIONS and follows.lower() in ("by", "without")


def _text(token: Token) -> str:
    if token.kind != "string":
        return token.text
    return token.text[1:-1] if token.text[0] == "`" else str(ast.literal_eval(token.text))


def _split(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield what stands between the commas that are in no brackets."""
    part: list[Token] = []
    depth = 0
    for token in tokens:
        depth += (token.text in _CLOSING) - (token.text in _CLOSING.values())
        if token.text == "," and not depth:
            yield part
            part = []
        else:
            part.append(token)
    if part:
        yield part


def _selector(metric: str, inside: Sequence[Token]) -> Selector:
    matchers = []
    for part in _split(inside):
        if len(part) == 1:  # {"a metric's name"}
            metric = _text(part[0])
            continue
        label, operator, value = part
        if label.text == "__name__":
            if operator.text != "=":
                raise ValueError("a metric is selected by a pattern of its name")
            metric = _text(value)
        else:
            matchers.append(Matcher(_text(label), operator.text, _text(value)))
    return Selector(metric, tuple(matchers))


def _arguments(tokens: Sequence[Token], at: int) -> list[list[Token]]:
    """Return the arguments of the function whose name is at the index.

    An aggregation's labels may stand between the two: count_values by (pod) ("version", x).
    """
    at += 1
    while tokens[at].text != "(":
        at = _closing(tokens, at + 1) + 1
    return list(_split(tokens[at + 1 : _closing(tokens, at)]))


def _label_function(name: str, arguments: list[list[Token]]) -> tuple[set[str], set[str]]:
    """Return the labels that the function makes, and those that it reads."""
    if name == "count_values":
        return {_text(arguments[0][0])}, set()
    read = arguments[3:4] if name == "label_replace" else arguments[3:]
    return {_text(arguments[1][0])}, {_text(argument[0]) for argument in read} - {""}
