"""One form for answers written in several: signs written out, names before values, free parameters."""

from evals.grading.tree import (
    Node,
    constant,
    contains,
    negative,
    node,
    rebuild,
    symbol,
    symbols,
    transform,
    walk,
)

_PARAMETERS = frozenset(["k", "n", "m", "l", "ell", "t", "s", "j", "c", "C", "K", "N"])


def signs_written_out(item: Node) -> Node:
    """a +- b as the list of both values, inside its list or set where it stands in one."""
    if not contains(item, "plusminus"):
        return item
    if item.kind in ("list", "set"):
        items: list[Node] = []
        for arg in item.args:
            written = signs_written_out(arg)
            items.extend(written.args if written.kind == "list" and arg.kind != "list" else (written,))
        return rebuild(item, tuple(items))

    def chosen(upper: bool) -> Node:
        def choose(part: Node) -> Node:
            if part.kind != "plusminus":
                return part
            plus = (part.name == "+-") == upper
            return node("add", part.args[0], part.args[1] if plus else negative(part.args[1]))

        return transform(item, choose)

    return node("list", chosen(True), chosen(False), name=",")


def without_wrapping(item: Node) -> Node:
    """Without a list or set around a single item, and without conditions such as k in Z beside an answer."""
    if item.kind == "list":
        kept = tuple(part for part in item.args if not _is_condition(part))
        if kept and len(kept) < len(item.args):
            item = rebuild(item, kept)
        if len(item.args) > 1 and all(part.kind == "set" for part in item.args) and item.name == "and":
            return item
    while item.kind in ("list", "set") and len(item.args) == 1:
        item = item.args[0]
    return item


def with_parameter_of(first: Node, second: Node, declared: frozenset[str]) -> Node:
    """`second` with its free parameter named as in `first`: 2 pi n and 2 pi k are one family."""
    names = _value_symbols(first), _value_symbols(second)
    old, fresh = names[1] - names[0], names[0] - names[1]
    if len(old) != 1 or len(fresh) != 1:
        return second
    (name,), (other,) = old, fresh
    is_parameter = {name, other} == {"c", "C"} or bool({name, other} & declared)
    if not is_parameter and not (_is_family(first, other) and _is_family(second, name)):
        return second
    renamed = symbol(other)
    return transform(second, lambda part: renamed if part.kind == "symbol" and part.name == name else part)


def declared_parameters(item: Node) -> frozenset[str]:
    """Names that a condition such as k in Z beside the answer makes parameters."""
    conditions = [part for part in item.args if _is_condition(part)] if item.kind == "list" else []
    return frozenset().union(*(symbols(part.args[0]) for part in conditions))


def _is_family(item: Node, name: str) -> bool:
    """Whether `name` can only be a parameter of `item`: whole turns of k pi, or the line (1 + t, 2 t).

    A letter that stands alone, as in (x, y) or n + 2, may be what was asked for.
    """
    item = value_of(item)
    if name in _PARAMETERS and any(part == constant("pi") for part in walk(item)):
        return True
    tuples = item.args if item.kind == "list" else (item,)
    return all(part.kind == "tuple" and symbols(part) == {name} for part in tuples) and any(
        sum(name in symbols(component) for component in part.args) > 1 for part in tuples
    )


def _value_symbols(item: Node) -> frozenset[str]:
    """Free symbols, without the names that equations give to values."""
    if item.kind == "list":
        return frozenset().union(*(_value_symbols(part) for part in item.args))
    return symbols(value_of(item))


def _is_condition(item: Node) -> bool:
    if item.kind != "member":
        return False
    where = item.args[1]
    return where.kind == "symbol" and where.name.startswith("set ")


def set_of(item: Node) -> Node:
    return item.args[1] if item.kind == "member" else item


def value_of(item: Node) -> Node:
    """5 of x = 5 or f(x) = 5, whatever the order; `item` itself when no side is a mere name."""
    if item.kind != "relation" or set(item.name.split()) != {"="}:
        return item
    for label, value in ((item.args[0], item.args[-1]), (item.args[-1], item.args[0])):
        if _is_label(label) and not (label.kind == "symbol" and label.name in symbols(value)):
            return value
    if len(item.args) > 2:
        return item.args[-1]
    return item


def _is_label(item: Node) -> bool:
    if item.kind == "symbol":
        return True
    if item.kind == "multiply":  # AB, S_ABC: letters side by side
        return all(part.kind == "symbol" and part.name.isupper() for part in item.args)
    if item.kind in ("tuple", "ratio", "divide"):
        return all(_is_label(part) for part in item.args)
    if item.kind == "call" and item.name in ("abs", "det", "deg", "Pr", "min", "max"):
        return all(_is_label(part) for part in item.args)
    return item.kind == "call" and item.name.startswith("function ")


def both_name_a_function(first: Node, second: Node) -> bool:
    """Whether one gives y and the other f(x)."""
    heads = sorted((first.args[0], second.args[0]), key=lambda head: head.kind)
    return heads[0].name.startswith("function ") and heads[1] == symbol("y") and heads[0].kind == "call"


def ends_of_chain(item: Node) -> Node:
    """x = a = b as x = b."""
    return node("relation", item.args[0], item.args[-1], name="=") if len(item.args) > 2 else item


def with_argument_of(first: Node, second: Node) -> tuple[Node, Node]:
    """f(t) = 2t with f's argument named as in the other definition."""
    heads = [each.args[0] for each in (first, second)]
    defined = all(
        head.kind == "call"
        and head.name.startswith("function ")
        and len(head.args) == 1
        and head.args[0].kind == "symbol"
        for head in heads
    )
    if not defined or heads[0].name != heads[1].name:
        return first, second
    old, fresh = heads[1].args[0].name, heads[0].args[0].name
    renamed = transform(
        second, lambda part: symbol(fresh) if part.kind == "symbol" and part.name == old else part
    )
    return first, renamed
