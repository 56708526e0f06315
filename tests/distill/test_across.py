"""A student learns from the cache of a teacher with another tokenizer."""

import itertools
import json
import math
import os
import signal

import numpy as np
import pytest
import torch
from across_world import train_tokenizer, write_documents, write_shards_of
from distill_world import bigram_model, cache_config, save_teacher

from axk1.core.artifact import read_manifest, sha256_file
from axk1.core.errors import ArtifactError, ConfigError, Interrupted, TokenizerMismatch
from axk1.data.packing import PackedBatches
from axk1.data.shards import Shards, sample_key
from axk1.data.tokenize import cut_document
from axk1.distill.across.meeting import Meeting
from axk1.distill.across.spelling import ABSENT
from axk1.distill.across.student import AcrossConfig, AcrossDistillation, train_across
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.student import DistillConfig, train_student
from axk1.model.checkpoint import load_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.tokenizer.tokenizer import Tokenizer
from axk1.train.batches import batches_from
from axk1.train.config import OptimizerConfig, ShardSource
from axk1.train.metrics import MetricsFile
from axk1.train.parallel.processes import Processes

TEACHER_LENGTH, STUDENT_LENGTH, TEXTS = 40, 33, 16
WORDS = [
    *("국회는", "법률안을", "심의하고", "의결한다", "제안", "이유와", "내용은", "다음과", "같다"),
    *("return", "value", "argument", "text", "student", "reads", "👍🏽", "1234"),
]
STUDENT = ModelConfig(
    architecture="Qwen3ForCausalLM", vocab_size=448, hidden_size=24, num_hidden_layers=1, head_dim=8,
    num_attention_heads=2, num_key_value_heads=1, intermediate_size=32, max_position_embeddings=64,
    tie_word_embeddings=True,
)  # fmt: skip


def write_texts(count, seed):
    """Texts in which each word decides what the next may be: one of three, seldom another."""
    after = np.random.default_rng(1).permuted(np.tile(np.arange(len(WORDS)), (len(WORDS), 1)), axis=1)[:, :3]
    generator, texts = np.random.default_rng(seed), []
    for _ in range(count):
        words = [int(generator.integers(len(WORDS)))]
        for _ in range(int(generator.integers(4, 40))):
            likely = generator.random() < 0.95
            words.append(int(after[words[-1], generator.integers(3)] if likely else generator.integers(len(WORDS))))
        texts.append(" ".join(WORDS[word] for word in words))
    return texts


def counted_bigrams(tokenizer, texts):
    """Log-probabilities of the next token given the current one, counted, and smoothed a little."""
    counts = torch.full((tokenizer.vocab_size, tokenizer.vocab_size), 1e-3, dtype=torch.float64)
    for ids in tokenizer.encode_batch(texts, special=False):
        whole = torch.tensor([tokenizer.bos_id, *ids, tokenizer.eos_id])
        counts.index_put_((whole[:-1], whole[1:]), torch.ones(len(whole) - 1, dtype=torch.float64), accumulate=True)
    return (counts / counts.sum(1, keepdim=True)).log()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("across")
    teacher = train_tokenizer(folder / "teacher-tokenizer", 420, texts=write_texts(100, seed=4))
    train_tokenizer(folder / "tokenizer", 420)
    write_documents(folder / "documents", write_texts(TEXTS, seed=2))
    write_shards_of(folder / "shards", folder / "teacher-tokenizer", folder / "documents", max_length=TEACHER_LENGTH)
    write_shards_of(folder / "mine", folder / "tokenizer", folder / "documents", max_length=STUDENT_LENGTH, seed=5)
    table = counted_bigrams(teacher, write_texts(3000, seed=3))
    save_teacher(folder / "teacher", bigram_model(table, teacher.vocab_size), teacher.save)
    (folder / "student.json").write_text(json.dumps(STUDENT.to_hf()))
    build_cache(cache_config(folder, kind="topk_text", top_k=12))
    torch.save(table, folder / "table.pt")
    return folder


def recipe(folder, output, **changes):
    fields = {
        "model": folder / "student.json", "shards": (ShardSource(folder / "mine"),), "cache": folder / "knowledge",
        "tokenizer": folder / "tokenizer", "teacher": folder / "teacher", "teacher_shards": (folder / "shards",),
        "output": output, "sequence_length": 64, "rows": 4, "steps": 60, "log_steps": 10, "threads": 1,
        "precision": "fp32", "device": "cpu", "optim": OptimizerConfig(lr=2e-2),
    }  # fmt: skip
    return AcrossConfig(**{**fields, **changes})


def meeting_of(folder, cache="knowledge", longest=1000):
    tokenizers = {"teacher": Tokenizer.load(folder / "teacher"), "student": Tokenizer.load(folder / "tokenizer")}
    shards = [Shards.open(folder / "shards")], [Shards.open(folder / "mine")]
    return Meeting(KnowledgeCache.open(folder / cache), *shards, **tokenizers, longest=longest)


def batch_of(shards):
    batches = PackedBatches(shards, [1.0], sequence_length=64, rows=4, seed=0)
    steps = batches_from(0, 1, batches, micro_batches=1, processes=Processes(), device=torch.device("cpu"))
    return next(steps).parts[0]


def pieces_of(tokenizer, text, max_length):
    """Every sample of a text: its key, and (begin, end, token before, token, place) of each token but the first."""
    place, pieces = 0, []
    ids = tokenizer.encode(text, special=False)
    for sample in cut_document(ids, bos=tokenizer.bos_id, eos=tokenizer.eos_id, max_length=max_length):
        tokens = []
        for number in range(1, len(sample)):
            size = 1 if sample[number] == tokenizer.eos_id else len(tokenizer.token_bytes(sample[number]))
            tokens.append((place, place + size, sample[number - 1], sample[number], number))
            place += size
        pieces.append((sample_key(sample), tokens))
    return pieces


def spans_by_hand(folder):
    """For each of the student's samples: (first, last) place of a span -> the teacher's tokens of it."""
    teacher, student = Tokenizer.load(folder / "teacher"), Tokenizer.load(folder / "tokenizer")
    found = {}
    for text in write_texts(TEXTS, seed=2):
        theirs = pieces_of(teacher, text, TEACHER_LENGTH)
        for key, mine in pieces_of(student, text, STUDENT_LENGTH):
            spans = found.setdefault(key, {})
            for _, tokens in theirs:
                cuts = sorted({x for one in mine for x in one[:2]} & {x for one in tokens for x in one[:2]})
                for a, b in itertools.pairwise(cuts):
                    inside = [one[4] for one in mine if a <= one[0] and one[1] <= b]
                    said = [one for one in tokens if a <= one[0] and one[1] <= b]
                    if inside and said:
                        spans[inside[0], inside[-1]] = said
    return found


def test_a_batch_is_taught_what_the_teacher_says_of_the_same_text(world):
    """Against a plain loop over every text: the same spans, in them the same tokens, by the teacher's own table."""
    meeting, table, expected = meeting_of(world), torch.load(world / "table.pt"), spans_by_hand(world)
    (shards,) = meeting.narrow()
    batch = batch_of([shards])
    lesson = meeting.lesson(batch.samples, 64)
    wanted = {}
    for sample in batch.samples:
        base = sample["row"] * 64 + sample["column"] - 1
        spans = expected[bytes(shards.keys[sample["sample"]])]
        wanted |= {(int(base + a), int(base + b)): said for (a, b), said in spans.items()}
    ends = np.flatnonzero(np.diff(lesson.spans_m, append=-1))
    starts = np.concatenate(([0], ends[:-1] + 1))
    spans = list(zip(lesson.span_places_m[starts].tolist(), lesson.span_places_m[ends].tolist(), strict=True))
    singles = [(place, place) for place in lesson.places_n.tolist()]
    assert sorted(spans + singles) == sorted(wanted)
    assert len(spans) > 30 and len(singles) > 15
    for span, found in zip(spans, lesson.span_log_probs_s, strict=True):
        exact = sum(float(table[before, token]) for _, _, before, token, _ in wanted[span])
        assert found == pytest.approx(exact, abs=0.025 * len(wanted[span]))
    translated = meeting.spellings.student_of_teacher_V
    for row, (place, _) in enumerate(singles):
        ((_, _, before, _, _),) = wanted[place, place]
        said = dict(zip(lesson.ids_nK[row].tolist(), np.exp(lesson.log_probs_nK[row]).tolist(), strict=True))
        shared = {int(translated[i]): float(p) for i, p in enumerate(table[before].exp()) if translated[i] != ABSENT}
        least = min(p for token, p in said.items() if token != ABSENT)
        for token, p in shared.items():
            assert said[token] == pytest.approx(p, abs=0.03) if token in said else p < least + 0.03
        kept = sum(p for token, p in said.items() if token != ABSENT)
        assert np.exp(lesson.log_rest_n[row]) == pytest.approx(1 - kept, abs=0.01)


def test_the_objective_equals_a_plain_loss(world):
    meeting = meeting_of(world)
    shards = meeting.narrow()
    config = recipe(world, world / "unused", kl_weight=0.7, span_weight=0.4, ce_weight=0.3, span_temperature=1.0)
    batch, lesson = batch_of(shards), None
    lesson = meeting.lesson(batch.samples, 64)
    torch.manual_seed(0)
    model = Transformer(STUDENT)
    loss = AcrossDistillation(config, meeting, 420)(model, batch)
    log_q = torch.log_softmax(model(batch.tokens_BT, batch.positions_BT, batch.segments_BT).double(), -1).flatten(0, 1)
    targets = batch.targets_BT.flatten()
    asked = targets != -100
    ce = -log_q[asked].gather(1, targets[asked][:, None]).sum()
    kl = torch.zeros((), dtype=torch.float64)
    for place, ids, log_p, rest in zip(
        lesson.places_n, lesson.ids_nK, lesson.log_probs_nK, lesson.log_rest_n, strict=True
    ):
        known = torch.from_numpy(ids[ids != ABSENT])
        p = torch.from_numpy(np.exp(log_p[ids != ABSENT])).double()
        others = log_q[place, :420].scatter(0, known, -torch.inf).logsumexp(0)
        kl = kl + (p * (p.log() - log_q[place, known])).sum() + math.exp(rest) * (float(rest) - others)
    own = log_q[lesson.span_places_m].gather(1, targets[lesson.span_places_m][:, None]).squeeze(1)
    log_q_s = torch.zeros(len(lesson.span_log_probs_s), dtype=torch.float64).index_add(
        0, torch.from_numpy(lesson.spans_m), own
    )
    p, q = torch.from_numpy(lesson.span_log_probs_s).double().exp(), log_q_s.exp()
    spans = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum()
    plain = (0.7 * kl + 0.4 * spans + 0.3 * ce) / batch.n_positions
    torch.testing.assert_close(loss.total.double(), plain, rtol=1e-4, atol=1e-5)
    found, exact = (torch.autograd.grad(one, model.embed_tokens.weight)[0] for one in (loss.total, plain))
    assert torch.linalg.norm(found - exact) < 1e-3 * torch.linalg.norm(exact)


def bits_per_byte(folder, tokenizer, texts):
    model, bits, size = load_model(folder, dtype=torch.float32), 0.0, 0
    for text in texts:
        for sample in cut_document(tokenizer.encode(text, special=False), bos=tokenizer.bos_id, eos=tokenizer.eos_id,
                                   max_length=STUDENT_LENGTH):  # fmt: skip
            ids = torch.tensor(sample)
            with torch.no_grad():
                log_q = torch.log_softmax(model(ids[None, :-1])[0], -1)
            bits -= float(log_q.gather(1, ids[1:, None]).sum()) / math.log(2)
        size += len(text.encode()) + 1
    return bits / size


def test_a_student_learns_more_than_its_control_from_the_same_tokens(world, tmp_path):
    train_across(recipe(world, tmp_path / "taught", steps=60))
    control = {"kl_weight": 0.0, "span_weight": 0.0, "ce_weight": 1.0}
    train_across(recipe(world, tmp_path / "control", steps=60, **control))
    tokenizer, texts = Tokenizer.load(world / "tokenizer"), write_texts(40, seed=9)
    taught, alone = (bits_per_byte(tmp_path / name, tokenizer, texts) for name in ("taught", "control"))
    assert taught < alone - 0.02
    inputs = read_manifest(tmp_path / "taught").inputs
    assert {"knowledge_cache", "teacher", "teacher_shards[0]"} <= inputs.keys()


def test_a_killed_run_goes_on_to_the_same_weights(world, tmp_path, monkeypatch):
    train_across(recipe(world, tmp_path / "whole", steps=12, log_steps=2))
    append, seen = MetricsFile.append, []

    def append_and_stop(self, line):
        append(self, line)
        seen.append(line)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(MetricsFile, "append", append_and_stop)
        with pytest.raises(Interrupted):
            train_across(recipe(world, tmp_path / "killed", steps=12, log_steps=2))
    train_across(recipe(world, tmp_path / "killed", steps=12, log_steps=2))
    whole, killed = (sha256_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert whole == killed


def test_a_small_cache_teaches_what_it_covers(world, tmp_path):
    part = cache_config(world, kind="topk_text", top_k=12, output=tmp_path / "part", max_tokens=200)
    build_cache(part)
    meeting = meeting_of(world, cache=tmp_path / "part")
    (shards,) = meeting.narrow()
    assert 0 < len(shards) < len(Shards.open(world / "mine"))
    taught, whole = meeting.lesson(batch_of([shards]).samples, 64).symbols
    assert whole / 2 <= taught <= whole


def test_texts_that_differ_are_left_out(world, tmp_path):
    texts = write_texts(TEXTS, seed=2)
    write_documents(
        tmp_path / "documents", [text if n % 2 else text.replace(" ", "  ") for n, text in enumerate(texts)]
    )
    write_shards_of(tmp_path / "mine", world / "tokenizer", tmp_path / "documents", max_length=STUDENT_LENGTH)
    meeting = meeting_of(world)
    tokenizers = {"teacher": Tokenizer.load(world / "teacher"), "student": Tokenizer.load(world / "tokenizer")}
    meeting = Meeting(meeting.cache, meeting.teacher.shards, [Shards.open(tmp_path / "mine")], **tokenizers, longest=64)
    assert (meeting.line.texts, meeting.line.different) == (TEXTS // 2, TEXTS // 2)
    documents = meeting.narrow()[0].column("document")
    assert len(documents) == len(Shards.open(tmp_path / "mine"))  # the column is the file's, the samples are narrowed
    assert 0 < len(meeting.narrow()[0]) < len(documents)


def test_the_same_sample_twice_in_a_batch_is_taught_twice(world):
    meeting = meeting_of(world)
    shards = meeting.narrow()
    samples = batch_of(shards).samples[:3]
    twice = np.concatenate((samples, samples))
    twice["row"][3:] += 10
    once, both = meeting.lesson(samples, 64), meeting.lesson(twice, 64)
    assert sorted(both.places_n) == sorted([*once.places_n, *(once.places_n + 640)])
    assert len(both.span_log_probs_s) == 2 * len(once.span_log_probs_s)


def test_what_cannot_teach_is_refused_with_the_way_on(world, tmp_path):
    fields = {"model": world / "student.json", "cache": world / "knowledge", "tokenizer": world / "tokenizer",
              "shards": (ShardSource(world / "mine"),), "output": tmp_path / "out", "sequence_length": 64, "rows": 4,
              "steps": 2}  # fmt: skip
    with pytest.raises(TokenizerMismatch) as refused:
        train_student(DistillConfig(**fields))
    assert "axk1 distill across" in str(refused.value.repair)
    build_cache(cache_config(world, kind="topk", output=tmp_path / "plain"))
    with pytest.raises(ArtifactError, match="text's own tokens") as refused:
        train_across(recipe(world, tmp_path / "out", cache=tmp_path / "plain"))
    assert "--kind topk_text" in str(refused.value.repair)
    train_across(recipe(world, tmp_path / "out", cache=tmp_path / "plain", span_weight=0.0, steps=2))
    with pytest.raises(TokenizerMismatch, match="another tokenizer"):
        train_across(recipe(world, tmp_path / "other", teacher=world / "tokenizer"))
    with pytest.raises(ConfigError, match="own tokenizer"):
        same = {"tokenizer": world / "teacher-tokenizer", "shards": (ShardSource(world / "shards"),)}
        train_across(recipe(world, tmp_path / "other", **same))
