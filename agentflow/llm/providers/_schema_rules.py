"""Fitting a JSON Schema to what a provider takes of it.

Every provider that holds its model to a schema takes a part of JSON Schema only. A keyword
it does not take is moved into the description, where the model still sees it; our own
reading of the answer checks it either way. What changes its meaning without a keyword, such
as a dict in a schema whose objects must be closed, is refused.
"""

from collections.abc import Callable, Iterable, Mapping

import attrs

from agentflow.llm._errors import SchemaError
from agentflow.llm._json import (
    JSON,
    JSONObject,
    as_list,
    as_object,
    as_text,
    dumps,
)

_DEFINITIONS = ("$defs", "definitions")
_MAPS = frozenset({*_DEFINITIONS, "properties"})
_LISTS = frozenset({"anyOf", "allOf", "prefixItems"})
_SINGLES = frozenset({"items", "additionalProperties"})
_UNTOLD = frozenset({"$schema", "$id", "$comment", "discriminator", "examples"})
"""Keywords that say nothing the model could heed."""


@attrs.frozen(kw_only=True)
class SchemaRules:
    """What a provider takes of JSON Schema.

    Attributes:
        keywords: The keywords it takes.
        formats: The formats of text it takes; None takes all.
        few_items: True if ``minItems`` may be 0 or 1 only.
        closed: True if objects must list all they hold, and nothing may be left open.
        recursive: True if a schema may refer to itself.
        advice: What to do about a schema that cannot be fitted, for the error.
    """

    keywords: frozenset[str]
    formats: frozenset[str] | None = None
    few_items: bool = False
    closed: bool = False
    recursive: bool = True
    advice: str = ""


def fit_schema(schema: Mapping[str, JSON], rules: SchemaRules) -> JSONObject:
    """Write a schema so that the provider takes it.

    Args:
        schema: The schema.
        rules: What the provider takes.

    Returns:
        The schema to send.

    Raises:
        SchemaError: It cannot be expressed; the place in it is named.
    """
    root = as_root(schema)
    defs = definitions(root)
    recursive = [name for name in defs if _reaches(name, defs)]
    if recursive and not rules.recursive:
        raise SchemaError(
            f"{recursive[0]} refers to itself, which this API cannot express; "
            f"{rules.advice}"
        )
    plain = {name: defs[name] for name in defs if name not in recursive}
    return _Fitting(rules, plain).fit(root, "the answer")


def as_root(schema: Mapping[str, JSON]) -> JSONObject:
    """Resolve a reference at the root, where APIs want the object itself."""
    root = dict(schema)
    target = definitions(root).get(_name(root))
    if isinstance(target, dict) and "$ref" not in target:
        del root["$ref"]
        root = {**target, **root}
    return root


def definitions(root: Mapping[str, JSON]) -> JSONObject:
    """Return the definitions of a schema, under their old name or the new one."""
    found: JSONObject = {}
    for key in _DEFINITIONS:
        found.update(as_object(root.get(key)))
    return found


def _name(schema: Mapping[str, JSON]) -> str:
    """Return the name of the definition that a schema refers to, if any."""
    return as_text(schema.get("$ref")).rpartition("/")[2]


def _reaches(goal: str, defs: JSONObject) -> bool:
    """Look whether a definition leads to itself, over however many references."""
    seen: set[str] = set()
    waiting = [goal]
    while waiting:
        for name in _references(defs.get(waiting.pop())):
            if name == goal:
                return True
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return False


def _references(value: JSON) -> Iterable[str]:
    """List the definitions that a schema refers to."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield _name(value)
        value = list(value.values())
    for inner in as_list(value):
        yield from _references(inner)


def with_tuples(schema: Mapping[str, JSON], *, items: bool) -> JSONObject:
    """Write the tuples in a schema so that a server takes them.

    That nothing follows a tuple's places is said twice, by ``items: false`` and by the
    greatest number of items; the first way is refused as often as it is understood.

    Args:
        schema: The schema.
        items: True to say of what kinds all places are together, for servers that want
            that of any array; False for those that would heed nothing else then.

    Returns:
        The schema to send.
    """
    written = {key: _tuples_below(value, items=items) for key, value in schema.items()}
    if "prefixItems" in written and written.get("items") is False:
        del written["items"]
        if items:
            written["items"] = any_place(written)
    return written


def _tuples_below(value: JSON, *, items: bool) -> JSON:
    """Write the tuples inside a keyword's value."""
    if isinstance(value, dict):
        return with_tuples(value, items=items)
    if isinstance(value, list):
        return [_tuples_below(x, items=items) for x in value]
    return value


def any_place(schema: Mapping[str, JSON]) -> JSON:
    """Say what may stand in some place or other of a tuple."""
    places = as_list(schema.get("prefixItems"))
    kinds = [x for i, x in enumerate(places) if x not in places[:i]]
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


class _Fitting:
    """Fits one schema.

    Args:
        rules: What the provider takes.
        plain: The definitions that do not refer to themselves, by name.
    """

    def __init__(self, rules: SchemaRules, plain: JSONObject) -> None:
        self._rules = rules
        self._plain = plain

    def fit(self, schema: JSON, where: str) -> JSONObject:
        """Fit one schema and those in it; ``where`` names its place, for errors."""
        node = self._resolved(as_object(schema))
        fitted: JSONObject = {}
        told: list[str] = []
        for key, value in node.items():
            if not self._take(fitted, key, value, where=where):
                told.append(f"{key}: {dumps(value)}")
        if self._rules.closed:
            self._close(node, fitted, where)
        if told:
            words = (as_text(fitted.get("description")), f"[{', '.join(told)}]")
            fitted["description"] = " ".join(w for w in words if w)
        return fitted

    def _resolved(self, node: JSONObject) -> JSONObject:
        """Rewrite what one provider or the other takes in no form at all."""
        if "$ref" in node:
            beside = {k: v for k, v in node.items() if k not in {"$ref", *_DEFINITIONS}}
            target = self._plain.get(_name(node))
            # A reference must stand alone: its target is taken in beside the notes, or
            # else, where that would never end, the notes are left out.
            if beside and isinstance(target, dict) and "$ref" not in target:
                return self._resolved({**target, **beside})
            return {k: v for k, v in node.items() if k not in beside}
        if "prefixItems" in node and "prefixItems" not in self._rules.keywords:
            node = {**node, "items": any_place(node)}
        return node

    def _take(self, fitted: JSONObject, key: str, value: JSON, *, where: str) -> bool:
        """Write one keyword; False if the provider does not take it."""
        key = "anyOf" if key == "oneOf" else key
        if key == "const" and key not in self._rules.keywords:
            key, value = "enum", [value]
        if key in _UNTOLD and key not in self._rules.keywords:
            return True
        if key not in self._rules.keywords or not self._fits(key, value):
            return False
        fitted[key] = self._inner(key, value, where)
        return True

    def _fits(self, key: str, value: JSON) -> bool:
        """Return True if the provider takes this value of a keyword it takes."""
        if key == "format" and self._rules.formats is not None:
            return value in self._rules.formats
        return not (key == "minItems" and self._rules.few_items) or value in {0, 1}

    def _inner(self, key: str, value: JSON, where: str) -> JSON:
        """Fit the schemas inside a keyword's value."""
        if key in _MAPS and isinstance(value, dict):
            inner = where if key == "properties" else ""
            return {
                k: self.fit(v, f"{inner}.{k}".lstrip(".")) for k, v in value.items()
            }
        if key in _LISTS and isinstance(value, list):
            return [self.fit(x, where) for x in value]
        if key in _SINGLES and isinstance(value, dict):
            return self.fit(value, f"{where}[]")
        return value

    def _close(self, node: JSONObject, fitted: JSONObject, where: str) -> None:
        """Close an object; refuse what is open by its nature."""
        refuse = self._refuser(where)
        if node.keys().isdisjoint({"type", "enum", "const", "anyOf", "oneOf", "$ref"}):
            refuse("may be anything")
        kind = node.get("type")
        if kind != "object" and "object" not in as_list(kind):
            return
        if node.get("additionalProperties", False) is not False:
            refuse("is an object with keys of any name")
        if "properties" not in node:
            refuse("is an object of any content")
        fitted["additionalProperties"] = False

    def _refuser(self, where: str) -> Callable[[str], None]:
        """Return what to call with the reason why a schema cannot be fitted."""

        def refuse(what: str) -> None:
            raise SchemaError(
                f"{where} {what}, which this API cannot express; {self._rules.advice}"
            )

        return refuse
