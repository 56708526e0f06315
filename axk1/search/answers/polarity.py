"""Text -> which of its words are denied; two texts -> where one denies or reverses what the other says."""

import functools

from axk1.search.answers.words import Word, words

_AFTER = {"않", "못하", "아니하", "말", "아니"}
"""Words that deny what stands before them: 하지 않다, 하지 못하다, 하지 말다, 이 아니다."""
_BEFORE = {"안", "못"}
"""Words that deny what stands behind them: 안 하다, 못 하다."""
_ENGLISH = {"not", "no", "never", "cannot", "without", "neither", "nor", "n't"}
_CONTRACTED = {"don", "doesn", "didn", "isn", "aren", "wasn", "weren", "won", "hasn", "haven", "hadn", "couldn",
               "shouldn", "wouldn", "can"}  # fmt: skip
_HEADS = ("NNG", "NNP", "VV", "VA", "XR", "SL")
_LIGHT = {"하", "되", "시키", "받", "당하"}
_OPPOSITE_WORDS = """
증가/감소 상승/하락 허용/금지 찬성/반대 승리/패배 이상/이하 초과/미만 포함/제외 이전/이후 최초/최후
최대/최소 최고/최저 가능/불가능 있/없 성공/실패 합격/불합격 승인/거부 의무/임의 확대/축소 많/적
높/낮 크/작 동쪽/서쪽 남쪽/북쪽 길/짧 시작/종료 참석/불참 공개/비공개 인정/부인 increas/decreas
ris/fall allow/forbid allow/prohibit permit/prohibit more/less befor/after first/last
maximum/minimum includ/exclud win/los highest/lowest accept/reject enabl/disabl tru/fals
always/never
"""
_OPPOSITES = [tuple(pair.split("/")) for pair in _OPPOSITE_WORDS.split()]


@functools.lru_cache(maxsize=20_000)
def polarities(text: str) -> dict[str, frozenset[bool]]:
    """Each meaningful word -> whether it stands affirmed (True), denied (False), or both in different places."""
    found: dict[str, set[bool]] = {}
    line = words(text)
    denied = _denied(line)
    for place, word in enumerate(line):
        if word.tag in _HEADS and word.form not in _LIGHT:
            found.setdefault(word.form, set()).add(place not in denied)
    return {form: frozenset(sides) for form, sides in found.items()}


def contradiction(text: str, evidence: str) -> str | None:
    """What a text says the other way round than its evidence, in words; None where nothing was found."""
    said, known = polarities(text), polarities(evidence)
    for form, sides in said.items():
        other = known.get(form)
        if other and not sides & other:
            return f"{form}: {'affirmed' if True in sides else 'denied'}, but the passage says otherwise"
    for pair in _OPPOSITES:
        for ours, theirs in (pair, pair[::-1]):
            if ours in said and ours not in known and theirs in known and theirs not in said:
                return f"{ours}, but the passage says {theirs}"
    return None


def is_negation(word: Word) -> bool:
    """Whether a morpheme denies another one, or says that something is not there."""
    if word.tag == "SL":
        return word.form in _ENGLISH
    after = word.form in _AFTER and word.tag in ("VX", "VCN", "VA", "VV")
    return after or (word.form in _BEFORE and word.tag == "MAG") or (word.form == "없" and word.tag == "VA")


def _denied(line: tuple[Word, ...]) -> set[int]:
    """Places of the words that a negation denies."""
    places = set()
    for place, word in enumerate(line):
        if word.form in _AFTER and word.tag in ("VX", "VCN", "VA", "VV"):
            places |= _head(line, range(place - 1, max(-1, place - 7), -1))
        elif word.form in _BEFORE and word.tag == "MAG":
            ahead = _head(line, range(place + 1, min(len(line), place + 3)))
            places |= ahead or _head(line, range(place - 1, max(-1, place - 4), -1))
        elif word.tag == "SL" and _is_english_negation(line, place):
            places |= _head(line, range(place + 1, min(len(line), place + 5)))
    return places


def _head(line: tuple[Word, ...], places: range) -> set[int]:
    """The nearest word with a meaning of its own: the predicate that is denied."""
    for place in places:
        word = line[place]
        if word.tag in _HEADS and word.form not in _LIGHT and word.form not in _ENGLISH | _CONTRACTED | {"t", "be"}:
            return {place}
    return set()


def _is_english_negation(line: tuple[Word, ...], place: int) -> bool:
    form = line[place].form
    contracted = form in _CONTRACTED and [word.form for word in line[place + 1 : place + 3]][-1:] == ["t"]
    return form in _ENGLISH or contracted
