"""What fits: how many tokens, experts and rows of the output matrix are in memory at once within a budget.

Everything that is allocated for a pass is counted here: the reader's buffer, the weights of one part of a layer, what
that part makes of a batch of tokens, what is kept of each token of a pass, and the chunk of the cache that is being
written. Hidden states are not: they lie in files. The interpreter and its libraries come on top.

Shapes: R tokens of a batch, H hidden size, K experts per token, E experts, I inner width, N heads, V vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from axk1.core.errors import ConfigError
from axk1.distill.hidden import HiddenRecords
from axk1.distill.records import Records, TopKRecords
from axk1.distill.sampled import SampledRecords
from axk1.distill.stream.byte_size import format_bytes
from axk1.distill.stream.direct_file import ALIGNMENT
from axk1.distill.stream.pieces import BlockPieces, Piece, block_pieces, output_pieces
from axk1.distill.topk import scoring_chunk
from axk1.model.config import ModelConfig
from axk1.train.loss import default_chunk

_MARGIN = 1.15
"""What is allocated for a batch, over what is counted: the library's own buffers, and holes between allocations."""
_PACKING = 6
"""Copies of a chunk's rows while they are coded and written."""
_READ_ROWS = 64 << 20
"""Bytes of the output matrix that are one read where all of it is in memory."""
_FLOAT = 4
_HALF_RATE = 45
"""Rows of an expert at which its products run at half the rate of large ones; measured on a CPU."""
_SWEEP = 1200
"""Operations that take as long as a sweep does for each number of a state: it is read, normed, and a sum read and
written, at 3 bytes for 250 operations."""


@dataclass(frozen=True)
class Room:
    """How a budget of memory is used."""

    ring: int
    """Bytes of the reader's buffer."""
    batch_tokens: int
    """Tokens that go through attention, a dense part or the output at once."""
    experts: int
    """Routed experts in memory; 0 in a dense network."""
    expert_tokens: int
    """Tokens that go by these at once."""
    assignments: int
    """Rows of all these experts at once, at most."""
    whole_layers: bool
    """Whether a layer is in memory as a whole, so that a batch goes through all of it."""
    matrix_rows: int
    """Rows of the output matrix that are one piece."""
    whole_matrix: bool
    """Whether all its pieces are in memory at once."""
    logit_tokens: int
    """Tokens whose logits, of these rows, are there at a time."""
    pass_tokens: int
    """Tokens of a pass, at most."""
    bytes: dict[str, int]
    """What each use takes, at its largest."""


@dataclass(frozen=True)
class Demand:
    """What a network and a kind of cache ask for."""

    config: ModelConfig
    records: Records
    longest: int
    """Tokens of the longest sample."""
    vocabulary: int
    """Rows of the output matrix that are used."""
    itemsize: int
    """Bytes of a number in products."""
    stored: Callable[[Piece], int]
    """Bytes of a piece in files."""
    device_type: str = "cpu"

    def pieces(self) -> list[BlockPieces]:
        """One block of each sort."""
        dense, layers = self.config.first_k_dense_replace, self.config.num_hidden_layers
        sorts = {0, min(dense, layers - 1)} if self.config.is_sparse else {0}
        return [block_pieces(self.config, layer) for layer in sorted(sorts)]


def chunk_rows(records: Records, memory: int, most: int) -> int:
    """Rows of a chunk of the cache, so that coding it takes an eighth of the memory at most."""
    return max(64, min(most, memory // 8 // (_PACKING * _row_bytes(records))))


def plan_room(
    demand: Demand, memory: int, device_memory: int | None, *, batch_tokens: int, chunk: int, most_tokens: int
) -> Room:
    """Divides a budget.

    Args:
        demand: what has to fit.
        memory: bytes of main memory.
        device_memory: bytes of the device; None where it computes in main memory.
        batch_tokens: most tokens at once.
        chunk: rows of a chunk of the cache.
        most_tokens: tokens of a pass, at most.

    Raises:
        ConfigError: the budget is too small; names what needs most, and the least budget.
    """
    blocks, on_device = demand.pieces(), device_memory is not None
    groups = [piece for block in blocks for piece in (block.attention, block.feed_forward, *block.experts[:1])]
    largest = max(groups, key=demand.stored)
    least_ring = demand.stored(largest) + len(largest.shapes) * 2 * ALIGNMENT
    packing, token = chunk * _row_bytes(demand.records) * _PACKING, _token_bytes(demand)
    least = {
        stage: int(need) for stage, need in _stages(demand, blocks, demand.longest, (1, demand.longest), 64).items()
    }
    worst = max(least, key=lambda stage: least[stage])
    if device_memory is not None and device_memory < least[worst]:
        raise _too_little("device_memory", device_memory, least[worst], worst, least[worst], demand.longest)
    fixed = least_ring + packing + (0 if on_device else least[worst])
    needed = fixed * 8 // 7 + demand.longest * token + 1
    if memory < needed:
        part = largest.name if on_device else worst
        raise _too_little("memory", memory, needed, part, least_ring if on_device else least[worst], demand.longest)
    tokens = max(min(most_tokens, memory // 8 // token), demand.longest)
    kept = tokens * token
    spare = memory - least_ring - packing - kept
    share = device_memory if device_memory is not None else max(least[worst], spare * 3 // 4)
    ring = least_ring + (memory // 4 if on_device else spare - share)
    half = max(share // 2, least[worst])
    most = max(demand.longest, min(batch_tokens, tokens))
    batch = _most(demand.longest, most, lambda b: _worst(demand, blocks, b) <= half)
    experts, expert_tokens, cost = _experts(demand, blocks, share, most)
    whole_layers, whole_batch = _whole_layers(demand, blocks, share, batch, cost)
    if whole_layers:
        batch = expert_tokens = whole_batch
        experts = demand.config.n_routed_experts if demand.config.is_sparse else 0
    vocabulary = demand.vocabulary
    rows = _most(64, vocabulary, lambda w: _output(demand, batch, w) <= share)
    whole = rows >= vocabulary or isinstance(demand.records, HiddenRecords)
    width = demand.config.hidden_size * _FLOAT
    rows = max(1, min(rows, vocabulary, ring // 2 // width, _READ_ROWS // width if whole else vocabulary))
    shown = vocabulary if whole else rows
    few, many = (min(batch, of(shown, demand.device_type)) for of in (default_chunk, scoring_chunk))
    logit_tokens = _most(few, many, lambda c: _output(demand, batch, shown, c) <= share)
    stages = _stages(demand, blocks, batch, (experts, expert_tokens), shown, logit_tokens)
    used = {"reading ahead": ring, "tokens": kept, "a chunk of the cache": packing}
    if whole_layers:
        stages["a layer"] = _whole(demand, blocks, batch)
    used |= {worst: int(stages[worst]) for worst in [max(stages, key=lambda stage: stages[stage])]}
    assignments = int(_assigned(demand.config, experts) * expert_tokens)
    return Room(ring, batch, experts, expert_tokens, assignments, whole_layers, rows, whole, logit_tokens, tokens, used)


def _experts(demand: Demand, blocks: list[BlockPieces], share: int, most: int) -> tuple[int, int, float]:
    """How many experts are in memory at once, how many tokens go by them, and what that costs; 0 in a dense network.

    Few experts leave room for many tokens, whose products are large; but each group costs a sweep over all states.
    """
    config, chosen, least_cost = demand.config, (0, most), math.inf
    sparse = [block for block in blocks if block.experts]
    if not sparse:
        return *chosen, least_cost
    for sweeps in range(1, config.n_routed_experts + 1):
        experts = -(-config.n_routed_experts // sweeps)
        tokens = _most(demand.longest, most, lambda t, g=experts: _sparse(demand, sparse[0], g, t) <= share)
        if experts > 1 and _sparse(demand, sparse[0], experts, tokens) > share:
            continue
        cost = _product_cost(config, tokens) + sweeps * _SWEEP * config.hidden_size
        if cost < least_cost:
            chosen, least_cost = (experts, tokens), cost
    return *chosen, least_cost


def _whole_layers(demand: Demand, blocks: list[BlockPieces], share: int, most: int, cost: float) -> tuple[bool, int]:
    """Whether layers fit as a whole and cost no more than in parts, and how many tokens then go by at once."""
    batch = _most(demand.longest, most, lambda tokens: _whole(demand, blocks, tokens) <= share)
    return _whole(demand, blocks, batch) <= share and _product_cost(demand.config, batch) <= cost, batch


def _product_cost(config: ModelConfig, tokens: int) -> float:
    """Operations that a token's products with its experts take as long as, where so many tokens go by at once."""
    if not config.is_sparse:
        return 0.0
    rows = tokens * config.num_experts_per_tok / config.n_routed_experts
    operations = 6 * config.num_experts_per_tok * config.hidden_size * config.moe_intermediate_size
    return operations * (1 + _HALF_RATE / rows)


def _most(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The largest number for which ``fits`` holds; ``low`` where none does."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _too_little(field: str, given: int, needed: int, part: str, size: int, longest: int) -> ConfigError:
    return ConfigError(
        f"{field} = {format_bytes(given)} is too little: the largest single part is {part} "
        f"({format_bytes(size)}, with {longest} tokens); allowed: {needed} bytes or more"
    )


def _worst(demand: Demand, blocks: list[BlockPieces], batch: int) -> float:
    """What the parts need that see ``batch`` tokens at once, whatever the experts see."""
    return max(_stages(demand, blocks, batch, (1, 1), 64).values())


def _stages(
    demand: Demand, blocks: list[BlockPieces], batch: int, experts: tuple[int, int], rows: int,
    logit_tokens: int | None = None,
) -> dict[str, float]:  # fmt: skip
    """Bytes that each part of the work needs for its weights and its batch.

    Args:
        experts: how many there are at once, and how many tokens go by them.
        rows: of the output matrix.
        logit_tokens: tokens whose logits are there at a time; None means ``default_chunk``.
    """
    found = {}
    for block in blocks:
        found[block.attention.name] = demand.itemsize * block.attention.numbers + batch * _attention_bytes(
            demand.config
        )
        if block.experts:
            found[f"{block.feed_forward.name} with {experts[0]} of its experts"] = _sparse(demand, block, *experts)
        else:
            found[block.feed_forward.name] = _rest(demand, block, batch)
    found["the output matrix" if rows >= demand.vocabulary else f"{rows} rows of the output matrix"] = _output(
        demand, batch, rows, logit_tokens
    )
    return found


def _sparse(demand: Demand, block: BlockPieces, experts: int, tokens: int) -> float:
    """Bytes of a sparse layer's shared part, so many experts, and tokens that go by them."""
    weights = block.feed_forward.numbers + experts * block.experts[0].numbers + _decoded(block.experts[0])
    return demand.itemsize * weights + tokens * _sparse_bytes(demand, experts)


def _whole(demand: Demand, blocks: list[BlockPieces], batch: int) -> float:
    """Bytes of the largest layer as a whole, with a batch that goes through attention and then through the rest."""
    attention = demand.itemsize * blocks[0].attention.numbers + batch * _attention_bytes(demand.config)
    return attention + max(_rest(demand, block, batch) for block in blocks)


def _rest(demand: Demand, block: BlockPieces, batch: int) -> float:
    """Bytes of a layer without its attention."""
    if block.experts:
        return _sparse(demand, block, len(block.experts), batch)
    weights = block.feed_forward.numbers + _decoded(block.feed_forward)
    return demand.itemsize * weights + batch * _dense_bytes(demand.config)


def _decoded(piece: Piece) -> int:
    """Numbers of the largest matrix: one that is quantised is made a float before it is put with the others."""
    return max((_numbers(shape) for shape in piece.shapes.values()), default=0)


def _numbers(shape: tuple[int, ...]) -> int:
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def _output(demand: Demand, batch: int, rows: int, logit_tokens: int | None = None) -> float:
    hidden = demand.config.hidden_size
    if isinstance(demand.records, HiddenRecords):
        return batch * hidden * (3 * _FLOAT + 4)
    rows = min(rows, demand.vocabulary)
    logit_tokens = logit_tokens or min(default_chunk(rows, demand.device_type), batch)
    return _FLOAT * (rows * hidden + 4 * batch * hidden + _MARGIN * 5 * logit_tokens * rows)


def _attention_bytes(config: ModelConfig) -> float:
    """What attention allocates for a token."""
    hidden = 6 * config.hidden_size
    if config.latent_attention:
        query, value = config.qk_nope_head_dim + config.qk_rope_head_dim, config.v_head_dim
        ranks = 2 * (config.q_lora_rank or 0) + 3 * (config.kv_lora_rank + config.qk_rope_head_dim)
        inner = config.num_attention_heads * (6 * query + config.qk_nope_head_dim + 3 * value) + ranks
    else:
        inner = config.rotary_dim * (6 * config.num_attention_heads + 6 * config.kv_heads)
    return _MARGIN * _FLOAT * (hidden + inner)


def _dense_bytes(config: ModelConfig) -> float:
    return _MARGIN * _FLOAT * (5 * config.hidden_size + 3 * config.intermediate_size)


def _sparse_bytes(demand: Demand, experts: int) -> float:
    config = demand.config
    row = config.hidden_size + 8
    if demand.device_type != "cpu":  # there the products of all experts are one
        row += config.hidden_size + 3 * config.moe_intermediate_size
    shared = 3 * config.n_shared_experts * config.moe_intermediate_size
    numbers = 8 * config.hidden_size + _assigned(config, experts) * row + shared + 5 * config.n_routed_experts
    return _MARGIN * _FLOAT * numbers


def _assigned(config: ModelConfig, experts: int) -> float:
    """Rows of so many experts for a token: half as many again as if all experts were chosen equally often."""
    chosen = config.num_experts_per_tok
    return min(chosen, 1.5 * chosen * experts / max(config.n_routed_experts, 1))


def _token_bytes(demand: Demand) -> int:
    """What is kept of each token of a pass: its id, its experts, and while the matrix comes in blocks, its best."""
    kept = 16 + 6 * demand.config.num_experts_per_tok * demand.config.is_sparse
    match demand.records:
        case TopKRecords(top_k=best, tail_samples=drawn):
            return kept + 8 * best + 12 * drawn + 16
        case SampledRecords(draws=drawn):
            return kept + 12 * drawn + 16
    return kept


def _row_bytes(records: Records) -> int:
    match records:
        case TopKRecords(top_k=best, tail_samples=drawn):
            return 12 * best + 8 * drawn + 12
        case SampledRecords(draws=drawn):
            return 16 * drawn + 8
        case HiddenRecords(hidden_size=size):
            return size
    raise TypeError(f"no rows of kind {records.kind!r} are streamed")


def matrix_pieces(demand: Demand, room: Room) -> list[Piece]:
    """The output matrix as it is read."""
    if isinstance(demand.records, HiddenRecords):
        return []
    return output_pieces(demand.config, demand.vocabulary, room.matrix_rows)
