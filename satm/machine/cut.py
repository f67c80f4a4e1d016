"""Cuts a function of tensors in two: what can be computed before its last argument is known, and the rest."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch.fx import Graph, GraphModule, Node

from satm.machine.compilation import load_forward_mode, traced

aten = torch.ops.aten

Tensors: TypeAlias = tuple[torch.Tensor, ...]
Cut: TypeAlias = tuple[Callable[..., Tensors], Callable[..., Tensors]]
"""The two functions that `cut` returns."""

# The operations whose results the first part keeps, because it costs much to compute them again.
COSTLY = {aten.convolution.default, aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default}
# Operations that use only the shape of the argument at this position, not its values.
SHAPE_ONLY = {
    aten.ones_like.default: 0,
    aten.zeros_like.default: 0,
    aten.nll_loss_backward.default: 1,
    aten.avg_pool2d_backward.default: 1,
    aten._adaptive_avg_pool2d_backward.default: 1,
    aten.max_pool2d_with_indices_backward.default: 1,
}
BACKWARD = aten.convolution_backward.default  # (cotangent, input, weight, …, which results are wanted [3])


class CannotCut(Exception):
    """The result of the first part needs the last argument, or the function cannot be traced."""


def cut(function: Callable[..., Tensors], early: Tensors, late: torch.Tensor) -> Cut:
    """Cut `function`, which maps (*early, late) to (a, *b), into two functions of the same shapes of arguments:

        first(*early) = (a, *kept),   second(*early, late, *kept) = b

    `kept` are the results of convolutions and matrix products that `second` would have to compute again. Cheaper values
    are computed again. Both functions are pure and give the results of `function`, up to round-off.

    The arguments give the shapes only. The function is traced to a graph of torch's operations, and an operation
    belongs to `second` if it depends on `late`. Some operations of such a graph seem to depend on `late` but do not;
    they are written in another way first. Raises CannotCut if `a` depends on `late`, or if torch cannot trace the
    function.
    """
    module = _trace(function, (*early, late))
    graph = module.graph
    _part_backward_convolutions(graph)
    _drop_zero_convolutions(graph)
    _drop_values_of_shapes(graph)
    graph.eliminate_dead_code()
    *inputs, last = (node for node in graph.nodes if node.op == "placeholder")
    (output,) = (node for node in graph.nodes if node.op == "output")
    result, *results = output.args[0]
    dependent = _dependent(graph, last)
    if result in dependent:
        raise CannotCut("the first result depends on the last argument")
    dependent.discard(output)
    kept, again = _kept(graph, dependent, results)
    before = [node for node in graph.nodes if node not in dependent and node is not output]
    after = [node for node in graph.nodes if node in dependent or node in again]
    return (
        _part(module, before, inputs=inputs, results=[result, *kept]),
        _part(module, after, inputs=[*inputs, last, *kept], results=results),
    )


def _trace(function: Callable[..., Tensors], arguments: Tensors) -> GraphModule:
    """Return `function` as a graph of torch's operations, none of which changes a tensor in place."""
    from torch.fx.experimental.proxy_tensor import make_fx

    load_forward_mode()
    try:
        with traced():
            pure = torch.func.functionalize(function, remove="mutations")
            module: GraphModule = make_fx(pure, tracing_mode="real")(*arguments)
    except Exception as error:  # torch raises many types here
        raise CannotCut(f"torch cannot trace it ({error})") from error
    return module


def _part_backward_convolutions(graph: Graph) -> None:
    """Replace each backward convolution by one for the input and one for weight and bias.

    The first does not use the values of the input, and the second does not use those of the weight. Together they would
    depend on both.
    """
    for node in _calls(graph, BACKWARD):
        arguments, wanted = _arguments(node)[:-1], _arguments(node)[-1]
        if not (wanted[0] and any(wanted[1:])):
            continue
        for of_input, part in (True, [True, False, False]), (False, [False, *wanted[1:]]):
            with graph.inserting_before(node):
                call = _call(graph, BACKWARD, (*arguments, part), like=node)
            for item in list(node.users):
                if (_arguments(item)[1] == 0) == of_input:
                    item.replace_input_with(node, call)
        graph.erase_node(node)


def _drop_zero_convolutions(graph: Graph) -> None:
    """Replace convolutions of zeros by zeros. Torch writes them if a tangent is zero, such as that of the images."""
    zero: set[Node] = set(_calls(graph, aten.zeros.default))
    for node in list(graph.nodes):
        arguments, producer = _arguments(node), _producer(node)
        if node.target in (aten.expand.default, aten.view.default, aten.alias.default):
            zero |= {node} if arguments[0] in zero else set()
            continue
        is_zero = node.target is aten.convolution.default and arguments[0] in zero and arguments[2] is None
        if producer is not None and producer.target is BACKWARD and arguments[1] == 1:
            is_zero = _arguments(producer)[1] in zero
        if is_zero:
            with graph.inserting_before(node):
                node.replace_all_uses_with(_blank(graph, node, aten.full.default, list(node.meta["val"].shape), 0.0))
            graph.erase_node(node)


def _drop_values_of_shapes(graph: Graph) -> None:
    """Give an empty tensor to each operation that uses only the shape of an argument."""

    def forget(node: Node, position: int) -> None:
        like = _arguments(node)[position]
        size, stride = list(like.meta["val"].shape), list(like.meta["val"].stride())
        with graph.inserting_before(node):
            node.update_arg(position, _blank(graph, like, aten.empty_strided.default, size, stride))

    for node in list(graph.nodes):
        producer = _producer(node)
        if node.target in SHAPE_ONLY:
            forget(node, SHAPE_ONLY[node.target])
        elif node.target is BACKWARD:
            wanted = _arguments(node)[-1]
            if not (wanted[0] and any(wanted[1:])):
                forget(node, 1 if wanted[0] else 2)
        elif producer is not None and producer.target is aten.nll_loss_forward.default and _arguments(node)[1] == 1:
            with graph.inserting_before(node):  # the sum of the weights of the labels: it does not use the logits
                other = _call(graph, producer.target, producer.args, like=producer)
            forget(other, 0)
            node.replace_input_with(producer, other)


def _dependent(graph: Graph, last: Node) -> set[Node]:
    """The nodes that depend on `last`, with `last` itself."""
    found = {last}
    for node in graph.nodes:
        if any(each in found for each in node.all_input_nodes):
            found.add(node)
    return found


def _kept(graph: Graph, dependent: set[Node], results: list[Node]) -> tuple[list[Node], set[Node]]:
    """The other nodes that dependent nodes or `results` use: (those that are kept, those that are computed again)."""
    kept: set[Node] = set()
    again: set[Node] = set()
    wanted = [*results, *(each for node in dependent for each in node.all_input_nodes)]
    while wanted:
        node = wanted.pop()
        if node.op == "placeholder" or node in dependent | kept | again:
            continue
        producer = _producer(node)
        if node.target in COSTLY or (producer is not None and producer.target is BACKWARD):
            kept.add(node)
        else:
            again.add(node)
            wanted += node.all_input_nodes
    return [node for node in graph.nodes if node in kept], again


def _part(module: GraphModule, nodes: list[Node], *, inputs: list[Node], results: list[Node]) -> Callable[..., Tensors]:
    """The function from `inputs` to `results` that computes `nodes`, which are some of those of `module`."""
    graph = Graph()
    copied = {node: graph.placeholder(f"argument_{position}") for position, node in enumerate(inputs)}
    for node in nodes:
        if node not in copied:
            copied[node] = graph.node_copy(node, copied.__getitem__)
    graph.output(tuple(copied[node] for node in results))
    graph.eliminate_dead_code()
    part = GraphModule(module, graph)

    def run(*arguments: torch.Tensor) -> Tensors:
        found: Tensors = part(*arguments)
        return found

    return run


def _arguments(node: Node) -> tuple[Any, ...]:
    return node.args


def _producer(node: Node) -> Node | None:
    """The operation of which `node` is one of the results; None if `node` is not one of several results."""
    return _arguments(node)[0] if node.target is operator.getitem else None


def _calls(graph: Graph, target: Any) -> list[Node]:
    return [node for node in graph.nodes if node.target is target]


def _call(graph: Graph, target: Any, arguments: tuple[Any, ...], *, like: Node) -> Node:
    """A new call, with the shape and type of the results of `like`."""
    node = graph.call_function(target, arguments)
    node.meta = dict(like.meta)
    return node


def _blank(graph: Graph, like: Node, target: Any, *arguments: Any) -> Node:
    """A new tensor with the shape and type of `like`."""
    value = like.meta["val"]
    node = graph.call_function(target, arguments, {"dtype": value.dtype, "device": value.device})
    node.meta = dict(like.meta)
    return node
