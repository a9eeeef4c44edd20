"""Every checkable number of the slides, computed again: it agrees, or is a listed erratum."""

import pytest

from tests import facts
from tests.slide_networks import NAMESPACE

CHECKABLE = [fact for fact in facts.all_facts() if fact.how]


@pytest.mark.parametrize("topic", sorted({fact.topic for fact in CHECKABLE}))
def test_slides(topic):
    wrong = []
    for fact in CHECKABLE:
        if fact.topic != topic:
            continue
        got = eval(fact.how, dict(NAMESPACE))
        comparison = facts.compare(fact.id, got)
        if not comparison.right or (isinstance(fact.ours, int) and got != fact.ours):
            wrong.append(f"not the value that is stored\n{comparison}")
        elif fact.value is not None and comparison.agrees != (fact.status == "agrees"):
            wrong.append(f"listed as {fact.status!r}\n{comparison}")
    assert not wrong, "\n\n".join(wrong)


def test_what_is_not_recomputed_cannot_be():
    """Quotations and wording; a number of a network does not hide among them."""
    units = {fact.unit for fact in facts.all_facts() if not fact.how}
    assert units <= {"", "%", "images", "layers", "x", "year"}
