"""Settings from files and from the command line: read, laid over each other, and checked.

A tree of settings is a frozen dataclass of values and of further dataclasses, its tables. What a value may be stands in its
annotation, with a line about it: `msgspec.Meta(ge=1, description="cameras around the head")`.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import msgspec
from msgspec import inspect

from avatarcli.errors import UsageError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Tree = TypeVar("Tree")
Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


@dataclass(frozen=True)
class Layer:
    """Some settings, as nested tables, and where they come from: `--config mine.toml`."""

    origin: str
    values: Mapping[str, Any]
    whole: bool = False  # a file, which may say more than one command wants to know


@dataclass(frozen=True)
class Setting:
    """One value of a tree: its name with those of its tables, such as `distill.gaussians`."""

    key: str
    value: Any
    about: str
    allowed: str


def read_layer(file: Path | Traversable, origin: str) -> Layer:
    """The settings of a file: JSON where its name ends in .json, else TOML. Raises UsageError when it cannot be read."""
    decode, language = (msgspec.json.decode, "JSON") if file.name.endswith(".json") else (msgspec.toml.decode, "TOML")
    try:
        content = decode(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{origin}: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{origin}: not {language} ({error})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{origin}: want settings by their names, such as those that `avatar config show` prints")
    return Layer(origin, content, whole=True)


def assigned(kind: type, texts: Iterable[str]) -> list[Layer]:
    """A layer for each of `distill.gaussians=60000`; null is nothing. Raises UsageError when one has no equals sign."""
    layers = []
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(f"--set {text}: write KEY=VALUE, such as distill.gaussians=60000")
        names = key.split(".")
        nested: Any = _read_value(value, _annotation(kind, names))
        for name in reversed(names):
            nested = {name: nested}
        layers.append(Layer("--set", nested))
    return layers


def overlay(tree: Tree, layers: Iterable[Layer]) -> Tree:
    """A tree with other values, those of later layers before those of earlier ones.

    Raises:
        UsageError: there is no such setting, or it cannot have such a value.
    """
    assert is_dataclass(tree)
    return build(type(tree), [Layer("", asdict(tree)), *layers], checked=1)  # type: ignore[arg-type]


def build(kind: type[Tree], layers: Sequence[Layer], *, checked: int = 0) -> Tree:
    """A tree of its layers alone. checked: how many of them need no look. Raises UsageError as `overlay`."""
    content: dict[str, Any] = {}
    for index, layer in enumerate(layers):
        if index >= checked:
            _check_table(layer.origin, (), layer.values, kind, kind)
        content = merged(content, layer.values)
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        # It is not of single values, which have been looked at: one is missing, or they do not go together.
        what, _, place = str(error).partition(" - at ")
        what = what.replace("Object missing required field", "there is no value for")
        raise UsageError(f"{layers[-1].origin}: {what}{place and f' in {place[3:-1]}'}") from error


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested tables as one; where both have a value, it is the upper one's."""
    result = dict(below)
    for name, value in above.items():
        inner = result.get(name)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            value = merged(inner, value)
        result[name] = value
    return result


def check_names(origin: str, table: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise UsageError when a name is not one of the known. table: where they stand, with the dot after it, or nothing."""
    keys = [f"{table}{name}" for name in known]
    for name in names:
        if (key := f"{table}{name}") not in keys:
            raise UsageError(f"{origin}: there is no setting {key}; {_hint(key, keys) or f'there are {_listed(keys)}'}")


def settings_of(tree: Any, table: str = "") -> Iterator[Setting]:
    """Every value of a tree, in its order."""
    annotations = get_type_hints(type(tree), include_extras=True)
    for field in fields(tree):
        value, annotation = getattr(tree, field.name), annotations[field.name]
        if is_dataclass(value):
            yield from settings_of(value, f"{table}{field.name}.")
        else:
            about = next((meta.description for meta in _metas(annotation) if meta.description), "")
            yield Setting(f"{table}{field.name}", value, about, _allowed(annotation))


def to_toml(tree: Any) -> str:
    """A tree as a file that `read_layer` reads, with a line about each value. What is nothing is commented out."""
    lines, table = [], ""
    for setting in settings_of(tree):
        inside, _, name = setting.key.rpartition(".")
        if inside != table:
            table = inside
            lines += ["", f"[{table}]"]
        lines.append(f"# {setting.about} ({setting.allowed})")
        lines.append(f'# {name} = ""' if setting.value is None else f"{name} = {_shown(setting.value)}")
    return "\n".join(lines) + "\n"


def _check_table(origin: str, path: tuple[str, ...], values: Any, kind: type, root: type) -> None:
    """Raise UsageError unless `values` are settings of the dataclass `kind`, at their place in the whole tree."""
    if not isinstance(values, Mapping):
        raise UsageError(f"{origin}: {'.'.join(path)} = {_shown(values)} is not a table of settings")
    annotations = get_type_hints(kind, include_extras=True)
    for name, value in values.items():
        key = ".".join((*path, name))
        if name not in annotations:
            known = [".".join((*path, field)) for field in annotations]
            hint = _hint(key, known) or _hint(key, _keys(root)) or f"there are {_listed(known)}"
            raise UsageError(f"{origin}: there is no setting {key}; {hint}")
        _check_value(origin, (*path, name), value, annotations[name], root)


def _check_value(origin: str, path: tuple[str, ...], value: Any, annotation: Any, root: type) -> None:
    for kind in _kinds(annotation):
        if isinstance(kind, inspect.DataclassType) and value is not None:
            _check_table(origin, path, value, kind.cls, root)
            return
        if isinstance(kind, inspect.VarTupleType) and isinstance(kind.item_type, inspect.DataclassType):
            if not isinstance(value, list):
                raise UsageError(f"{origin}: write {path[-1]} as a list of tables, [[{'.'.join(path)}]]")
            for index, item in enumerate(value):
                _check_table(origin, (*path[:-1], f"{path[-1]}[{index}]"), item, kind.item_type.cls, root)
            return
    try:
        msgspec.convert(value, annotation)
        fits = not isinstance(value, float) or math.isfinite(value)
    except msgspec.ValidationError:
        fits = False
    if not fits:
        raise UsageError(f"{origin}: {'.'.join(path)} = {_shown(value)}: choose {_allowed(annotation)}")


def _annotation(kind: type, names: Sequence[str]) -> Any:
    """What the value of that name may be; Any where there is none."""
    annotation = get_type_hints(kind, include_extras=True).get(names[0], Any)
    if len(names) == 1:
        return annotation
    tables = [k.cls for k in _kinds(annotation) if isinstance(k, inspect.DataclassType)]
    return _annotation(tables[0], names[1:]) if tables else Any


def _read_value(text: str, annotation: Any) -> Any:
    """A value of the command line: text where text is wanted, else as TOML writes it."""
    if text == "null":
        return None
    if any(isinstance(kind, inspect.StrType) for kind in _kinds(annotation)):
        return text
    try:
        return msgspec.toml.decode(f"value = {text}")["value"]
    except msgspec.DecodeError:
        return text


def _keys(kind: type, table: str = "") -> list[str]:
    """The names of all values of a tree's dataclass."""
    keys = []
    for name, annotation in get_type_hints(kind, include_extras=True).items():
        tables = [k.cls for k in _kinds(annotation) if isinstance(k, inspect.DataclassType)]
        keys += _keys(tables[0], f"{table}{name}.") if tables else [f"{table}{name}"]
    return keys


def _hint(key: str, known: Sequence[str]) -> str | None:
    """The name that was meant, if there is one: its last part is spelt nearly so."""
    last_parts = {name.rpartition(".")[2]: name for name in known}
    close = difflib.get_close_matches(key.rpartition(".")[2], last_parts, n=1)
    return f"did you mean {last_parts[close[0]]}?" if close else None


def _listed(known: Iterable[str]) -> str:
    return ", ".join(sorted(known))


def _metas(annotation: Any) -> list[msgspec.Meta]:
    return [meta for meta in getattr(annotation, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]


def _kinds(annotation: Any) -> tuple[inspect.Type, ...]:
    """What a value may be, one after another."""
    info = inspect.type_info(annotation)
    if isinstance(info, inspect.Metadata):
        info = info.type
    return info.types if isinstance(info, inspect.UnionType) else (info,)


def _allowed(annotation: Any) -> str:
    """What a value may be, in words."""
    for meta in _metas(annotation):
        if meta.extra and "allowed" in meta.extra:
            return str(meta.extra["allowed"])
    return " or ".join(_words(kind) for kind in _kinds(annotation))


def _words(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.LiteralType):
        return "one of " + ", ".join(str(value) for value in kind.values)
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        noun = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
        step = f", a multiple of {kind.multiple_of}" if kind.multiple_of else ""
        above = f" above {kind.gt:,g}" if kind.gt is not None else ""
        if kind.ge is not None:
            above = f" from {kind.ge:,} to {kind.le:,}" if kind.le is not None else f" from {kind.ge:,} on"
        return f"{noun}{above}{step}"
    names: dict[type, str] = {
        inspect.BoolType: "true or false",
        inspect.StrType: "text",
        inspect.NoneType: "nothing (null)",
        inspect.DictType: "a table",
    }
    return names.get(type(kind), "a list")


def _shown(value: Any) -> str:
    """A value as TOML and JSON write it, where they can. TOML knows one more character that cannot stand as it is."""
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")
