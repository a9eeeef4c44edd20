"""Pairs of submissions that are alike beyond what was handed out: a hint for a human.

Winnowing (Schleimer, Wilkerson and Aiken, SIGMOD 2003): code becomes a row of tokens without
names, comments or spacing, every run of tokens a number, and of the numbers in a window the
smallest is kept. Two texts that share a long enough run share a number.
"""

import builtins
import hashlib
import io
import keyword
import tokenize
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import chain, combinations

__all__ = ["alike", "fingerprints"]

RUN = 12  # tokens in a number: shorter runs are anybody's idiom
WINDOW = 6
ENOUGH = 8  # numbers that an answer must have to say anything
CLASS = 0.3  # what this part of a class shares is how the task is solved, not a copy
_KEPT = {tokenize.OP, tokenize.NUMBER}
_BUILTIN = frozenset(dir(builtins)) | frozenset(keyword.kwlist)


def tokens(source: str) -> list[str]:
    """Tokens that survive renaming, reformatting and commenting."""
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NAME:
                found.append(token.string if token.string in _BUILTIN else "x")
            elif token.type == tokenize.STRING:
                found.append("''")
            elif token.type in _KEPT:
                found.append(token.string)
    except (tokenize.TokenError, SyntaxError, ValueError):
        pass  # what was read so far is compared
    return found


def fingerprints(source: str) -> set[int]:
    """The kept numbers of a text."""
    row = tokens(source)
    numbers = [
        int.from_bytes(hashlib.blake2b("\0".join(run).encode(), digest_size=8).digest(), "big")
        for run in zip(*(row[i:] for i in range(RUN)), strict=False)
    ]
    windows = zip(*(numbers[i:] for i in range(min(WINDOW, max(len(numbers), 1)))), strict=False)
    return {min(window) for window in windows}


def alike(found: dict[str, Iterable[int]], threshold: float = 0.6) -> list[tuple[float, str, str]]:
    """The pairs of students whose code is alike, most alike first.

    Parameters
    ----------
    found : by student, the `fingerprints` of what they wrote, without those of what was handed out
    threshold : float
        The part of the smaller one's numbers that both have, from which a pair is told.
    """
    prints = {student: array("Q", numbers) for student, numbers in found.items()}
    spread = Counter(chain.from_iterable(prints.values()))
    common = max(2, CLASS * len(prints))
    owners = defaultdict(list)
    for student, numbers in prints.items():
        prints[student] = kept = array("Q", (n for n in numbers if spread[n] <= common))
        for number in kept:
            if spread[number] > 1:
                owners[number].append(student)
    shared = Counter(
        pair for students in owners.values() for pair in combinations(sorted(students), 2)
    )
    pairs = []
    for (a, b), count in shared.items():
        smaller = min(len(prints[a]), len(prints[b]))
        if smaller >= ENOUGH and count / smaller >= threshold:
            pairs.append((count / smaller, a, b))
    return sorted(pairs, reverse=True)
